"""API keys: made once, shown once, kept as hashes in a file that is read again when it changes. Light: no torch.

A line of the file is `id:sha256[:scopes]`; the key has 256 random bits, so that a plain hash cannot be guessed back.
Several lines may have one id: a key is replaced without a gap by adding the new one before revoking the old one.
"""

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("purifiqa.api")

PREFIX = "purifiqa_"
"""So that a key that leaks into a repository is found by those who look for such things."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    """Send orders."""
    READ = "read"
    """Follow, fetch, cancel and erase its own jobs, and read the catalogue."""
    METRICS = "metrics"
    """Read `/metrics`."""
    ADMIN = "admin"
    """All of that, with everybody's jobs."""


DEFAULT_SCOPES = (Scope.SUBMIT, Scope.READ)


class KeyFileError(ValueError):
    """The key file cannot be understood; the message names the line and the cure."""


class StoredKey(NamedTuple):
    """What is kept of a key."""

    id: str
    hash: str
    scopes: frozenset[Scope]

    @property
    def line(self) -> str:
        """The line of the key file."""
        return f"{self.id}:{self.hash}:{','.join(sorted(self.scopes))}"

    def allows(self, scope: Scope) -> bool:
        """Return whether the key may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


def hash_of(key: str) -> str:
    """Return what is stored of a key: its SHA-256, hexadecimal."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def new_key(name: str, scopes: Iterable[str] = DEFAULT_SCOPES) -> tuple[str, StoredKey]:
    """Return a new key, which nobody can tell again, and what to store of it. Raises ValueError."""
    _check_name(name)  # a line would be divided at a colon in it
    scopes = [scope for scope in scopes if scope.strip()]
    if not scopes:  # a line without any has those by default
        raise ValueError(f"{name}: name at least one scope of {', '.join(Scope)}")
    key = PREFIX + secrets.token_urlsafe(32)
    return key, parse_line(f"{name}:{hash_of(key)}:{','.join(scopes)}")


def parse_line(line: str) -> StoredKey:
    """Return the key of a line of the file. Raises ValueError."""
    name, _, rest = line.strip().partition(":")
    digest, _, scopes = rest.partition(":")
    _check_name(name)
    if not _HASH.fullmatch(digest):
        raise ValueError(f"the hash of {name} is not a SHA-256 in lower-case hexadecimal")
    given = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    unknown = set(given) - set(Scope)
    if unknown:
        raise ValueError(f"{name}: there is no scope {', '.join(sorted(unknown))}; there are {', '.join(Scope)}")
    return StoredKey(name, digest, frozenset(map(Scope, given)) or frozenset(DEFAULT_SCOPES))


def _check_name(name: str) -> None:
    if not _ID.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not a valid name: use letters, digits, '.', '_' and '-', at most 64")


def read_lines(file: Path) -> list[StoredKey | str]:
    """Return the keys of a file among its comments and empty lines, as they stand. Raises KeyFileError."""
    try:
        text = file.read_text()
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise KeyFileError(f"{file}, line {number}: it is not text in {error.encoding}") from error
    found: list[StoredKey | str] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(parse_line(line) if line.strip() and not line.lstrip().startswith("#") else line)
        except ValueError as error:
            raise KeyFileError(f"{file}, line {number}: {error}") from error
    return found


def read_file(file: Path) -> list[StoredKey]:
    """Return the keys of a file. Raises KeyFileError."""
    return [one for one in read_lines(file) if isinstance(one, StoredKey)]


@contextlib.contextmanager
def changing(file: Path) -> Iterator[None]:
    """Wait for whoever else reads the file in order to change it, and keep others waiting meanwhile. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)  # the file itself is replaced
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_file(file: Path, lines: Iterable[StoredKey | str]) -> None:
    """Replace the file, whole or not at all, readable by its owner only. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".api-keys-")
    try:
        with os.fdopen(handle, "w") as unfinished:
            unfinished.writelines(f"{one.line if isinstance(one, StoredKey) else one}\n" for one in lines)
        Path(name).replace(file)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say where
            raise OSError(error.errno, error.strerror, str(file)) from error
        raise


class KeyRing:
    """The keys of a file, as it stands at this moment."""

    def __init__(self, file: Path) -> None:
        """Read the file. Raises KeyFileError."""
        self._file = file
        self._stamp = _stamp(file)
        self._keys = read_file(file)

    def find(self, key: str) -> StoredKey | None:
        """Return whose key this is. How long it takes does not depend on how much of a hash is right."""
        self._read_again_if_changed()
        asked, found = hash_of(key), None
        for stored in self._keys:
            if hmac.compare_digest(stored.hash, asked):
                found = stored
        return found

    def _read_again_if_changed(self) -> None:
        if (stamp := _stamp(self._file)) == self._stamp:
            return
        try:
            self._keys = read_file(self._file)
        except KeyFileError as error:
            self._keys = []  # rather nobody than somebody whose key has been revoked
            log.critical("no API key is accepted until this is fixed: %s", error)
        self._stamp = stamp


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        facts = file.stat()
    except OSError:
        return ()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
