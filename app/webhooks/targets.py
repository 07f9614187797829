"""Where a webhook may be sent: a name is looked up once, and only public addresses are connected to.

The address that was checked is the address that is used: a name that answers differently the second time gains nothing.
"""

import asyncio
import contextlib
import ipaddress
import re
import threading
from collections.abc import Callable
from socket import SOCK_STREAM, getaddrinfo
from typing import Any, NamedTuple

from httpx2 import URL, InvalidURL

from app.errors import field_problem
from app.settings import Settings

FIELD = "webhook"
_TRANSLATED = (
    ipaddress.ip_network("64:ff9b::/96"),  # NAT64: an IPv4 address in disguise
    ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("::/96"),  # IPv4-compatible, long forbidden
    ipaddress.ip_network("fec0::/10"),  # site-local, the same
)
_SPECIAL = (  # for protocols, not for hosts; Pythons differ in which of them are global
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("192.88.99.0/24"),
)
_LOWEST_FREE_PORT, _HIGHEST_PORT = 1024, 65_535
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class ForbiddenTargetError(ValueError):
    """A webhook must not be sent there; the message says why."""


class _NoAddressError(ValueError):
    """A name, which has yet to be looked up."""


class Target(NamedTuple):
    """Where to connect, and what to call it: the name goes into the TLS handshake and the Host header."""

    url: URL
    addresses: list[str]


def check_url(text: str, settings: Settings) -> URL:
    """Return the URL if a webhook may be sent there, as far as can be told now. Raises ForbiddenTargetError."""
    try:
        url = URL(text)
    except InvalidURL as error:
        raise ForbiddenTargetError(f"it is not a URL: {error}") from error
    if url.scheme != "https" and not (url.scheme == "http" and settings.webhook_allow_http):
        raise ForbiddenTargetError("it must begin with https://")
    if not url.host:
        raise ForbiddenTargetError("it names no host")
    if url.userinfo:
        raise ForbiddenTargetError("it must hold no user name and no password")
    port = _port(url)
    if port < _LOWEST_FREE_PORT and port not in (80, 443):
        raise ForbiddenTargetError(f"port {port} belongs to another kind of service")
    if port > _HIGHEST_PORT:
        raise ForbiddenTargetError(f"there is no port {port}")
    host = url.raw_host.decode("ascii")
    if ":" not in host and not _NAME.fullmatch(host):
        raise ForbiddenTargetError("its host is not a valid name")
    with contextlib.suppress(_NoAddressError):
        check_address(host, settings)
    return url.copy_with(fragment=None)


def _port(url: URL) -> int:
    return (443 if url.scheme == "https" else 80) if url.port is None else url.port


def check_address(address: str, settings: Settings) -> None:
    """Raise ForbiddenTargetError unless the address is public."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError as error:
        raise _NoAddressError(address) from error
    if settings.webhook_allow_private:
        return
    disguised = isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped or ip.sixtofour or ip.teredo)
    special = any(ip in network for network in (*_TRANSLATED, *_SPECIAL))
    if disguised or special or not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified:
        raise ForbiddenTargetError("its address is not public")


async def resolve(text: str, settings: Settings) -> Target:
    """Look the host up, once. Raises ForbiddenTargetError if any of its addresses is no public one, OSError."""
    url = check_url(text, settings)
    host = url.raw_host.decode("ascii")
    addresses = await _addresses_of(host, _port(url))
    for address in addresses:
        check_address(address, settings)
    return Target(url, addresses)


async def _addresses_of(host: str, port: int) -> list[str]:
    """Look a name up in a thread of its own, for which neither another webhook nor the end of this process waits."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def look() -> None:
        try:
            found = getaddrinfo(host, port, type=SOCK_STREAM)
            addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
            tell(answer.set_exception, error)
        else:
            tell(answer.set_result, addresses)

    def tell(settle: Callable[[Any], None], what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the service has stopped
            loop.call_soon_threadsafe(lambda: None if answer.done() else settle(what))

    threading.Thread(target=look, name="look-up", daemon=True).start()
    return await answer


def chosen_webhook(text: str, settings: Settings) -> str:
    """Return the URL that a form field names, if webhooks are on and it may be one. Raises ProblemError."""
    if not webhooks_are_on(settings):
        detail = "this service sends no webhooks: its operator has not set PURIFIQA_WEBHOOK_SECRET"
        raise field_problem(409, FIELD, "webhooks-off", detail)
    try:
        return str(check_url(text, settings))
    except ForbiddenTargetError as error:
        raise field_problem(422, FIELD, "webhook-forbidden", str(error)) from error


def webhooks_are_on(settings: Settings) -> bool:
    """Return whether there is a secret to sign with."""
    return bool(settings.webhook_secret.get_secret_value() or settings.webhook_secret_file)
