"""Whether API keys are asked for. Light: `purifiqa up` decides before it starts anything."""

import ipaddress
from pathlib import Path

KEYS_FILE = "api-keys"


def needs_keys(auth: str, host: str, publish: str, keys_file: Path) -> bool:
    """Return whether keys are asked for, by `auth` (auto, keys, off), the address and the key file.

    Raises ValueError, with the cure, if the service would stand open where others can reach it and nobody said so.
    """
    if auth == "off":
        return False
    if keys_file.exists():
        return True
    if auth == "keys":
        raise ValueError(
            f"PURIFIQA_AUTH=keys, but there is no {keys_file}; make a key: purifiqa keys new NAME --file {keys_file}"
        )
    if is_loopback(_host(publish) if publish else host):
        return False
    raise ValueError(
        f"anyone who can reach {publish or host} could use this service: create a key with "
        f"`purifiqa keys new NAME --file {keys_file}`, or say that this is meant with PURIFIQA_AUTH=off"
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address. An empty one means all of them."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host(publish: str) -> str:
    """Return the address of Docker's `[address:]port`."""
    return publish.rpartition(":")[0]
