"""Where a webhook may go: public addresses only, by whatever name or number they are called."""

import asyncio
import time

import pytest

from app.settings import Settings
from app.webhooks.targets import ForbiddenTargetError, check_address, check_url, resolve


@pytest.mark.parametrize("url", [
    "http://example.org/", "ftp://example.org/", "file:///etc/passwd", "https://", "example.org", "https://a:b@example.org/",
    "https://user@example.org/", "https://example.org:22/", "https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/",
    "https://192.168.0.1/", "https://172.16.0.1/", "https://169.254.169.254/latest/", "https://100.64.0.1/",
    "https://192.0.0.192/", "https://192.0.0.8/", "https://192.88.99.1/",
    "https://224.0.0.1/", "https://0.0.0.0/", "https://255.255.255.255/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:8.8.8.8]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::1]/", "https://[fe80::1]/",
    "https://[fc00::1]/", "https://[ff02::1]/", "https://[2002:7f00:1::]/", "https://[2001::1]/", "https://[::7f00:1]/",
    "https://[fec0::1]/", "https://[4000::1]/", "https://exa mple.org/", "\x00", "https://a..example.org/", "https://./",
    f"https://{'a' * 64}.example.org/", f"https://{'a.' * 127}org/", "https://example.org:0/", "https://example.org:65536/",
    "https://[2606:4700::1]:25/", "https://example.org:1023/",
])  # fmt: skip
def test_a_url_that_a_webhook_must_not_go_to_is_refused_at_once(url, settings):
    with pytest.raises(ForbiddenTargetError):
        check_url(url, Settings())


@pytest.mark.parametrize("url", [
    "https://example.org/hook?x=1", "https://8.8.8.8:8443/", "https://[2606:4700::1]/", "https://example.org.:1024/",
    f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}:65535/",
])  # fmt: skip
def test_a_public_url_is_accepted(url, settings):
    assert str(check_url(url, Settings())) == url


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
def test_a_name_or_number_that_means_this_machine_is_found_out_when_it_is_looked_up(host, settings):
    with pytest.raises(ForbiddenTargetError):
        asyncio.run(resolve(f"https://{host}/", Settings()))


def test_private_targets_are_allowed_only_where_the_operator_says_so(settings):
    check_address("10.0.0.1", Settings(webhook_allow_private=True))
    with pytest.raises(ForbiddenTargetError):
        check_address("10.0.0.1", Settings())
    assert check_url("http://10.0.0.1/", Settings(webhook_allow_private=True, webhook_allow_http=True))


def test_names_that_are_never_found_keep_no_other_webhook_waiting(monkeypatch):
    def getaddrinfo(host, port, **_):
        time.sleep(60 if host.startswith("slow") else 0)
        return [(2, 1, 6, "", ("8.8.8.8", port))]

    async def among_others():
        others = [asyncio.create_task(resolve(f"https://slow{n}.example/", Settings())) for n in range(64)]
        async with asyncio.timeout(20):
            found = await resolve("https://good.example/", Settings())
        for other in others:
            other.cancel()
        return found

    monkeypatch.setattr("app.webhooks.targets.getaddrinfo", getaddrinfo)
    assert asyncio.run(among_others()).addresses == ["8.8.8.8"]
