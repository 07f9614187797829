"""Images on disk, by content: written to a temporary name and renamed, owned by jobs through hard links.

    blobs/<ab>/<sha256>       the bytes, once however many jobs hold them
    jobs/<ab>/<job>/<role>    a hard link to a blob: what a job owns, readable while the job lives
    jobs/<ab>/<job>/manifest  the order, in lines: a file of its own (workers/state/manifest.py)

The link count of a blob is its number of owners, kept by the file system itself, so nothing can disagree about it.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STALE_SECONDS = 3600


class StoreFullError(OSError):
    """The disk or quota that holds the store is full."""


class StoreClosedError(OSError):
    """The folder cannot be used by this user; the message names the variable and the user."""


class Store:
    """A folder of blobs and their owners. API and workers use the same folder."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._jobs = root / "jobs"
        self._incoming = root / "incoming"

    def open(self) -> None:
        """Create the folders. Raises StoreClosedError if they cannot be written; a full disk is none of that."""
        for folder in (self._blobs, self._jobs, self._incoming):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise _closed(folder, error.strerror) from error
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise _closed(folder, "it belongs to another user or is mounted read-only")

    def is_writable(self) -> bool:
        """Return whether a file can be created now."""
        try:
            with tempfile.TemporaryFile(dir=self._incoming) as probe:
                probe.write(b"ok")
        except OSError:
            return False
        return True

    def put(self, owner: str, role: str, data: bytes, *, durable: bool = False) -> str:
        """Write `data` and let `owner` hold it as `role`; return its SHA-256.

        `durable` waits until it is on the disk itself. Raises StoreFullError when there is no room.
        """
        digest = hashlib.sha256(data).hexdigest()
        blob = self._blobs / digest[:2] / digest
        link = self.path(owner, role)
        try:
            link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._link(blob, link):
                self._write(blob, data, durable=durable)
                if not self._link(blob, link):  # swept in between, or taken by very many
                    self._write(link, data, durable=durable)
        except OSError as error:
            raise _full(error, blob) from error
        return digest

    def append(self, owner: str, role: str, line: bytes, *, create: bool = False) -> bool:
        """Add a line to a file of `owner`'s; return whether it is there. With `create` it is made, on the disk itself.

        Raises StoreFullError when there is no room.
        """
        path = self.path(owner, role)
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if create else 0), 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(line)
                if create:
                    file.flush()
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _full(error, path) from error
        return True

    def touch(self, owner: str) -> None:
        """Let what `owner` holds count as written now. Nothing held is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path(owner, "any").parent)

    def drop(self, owner: str, role: str) -> None:
        """Remove one file of `owner`'s that is no link to a blob. Nothing there is no error."""
        self.path(owner, role).unlink(missing_ok=True)

    def path(self, owner: str, role: str) -> Path:
        """Return where `owner` holds `role`, whether or not it does."""
        if not _NAME.fullmatch(owner) or not _NAME.fullmatch(role):
            raise ValueError(f"not a name: {owner!r}, {role!r}")
        return self._jobs / owner[:2] / owner / role

    def read(self, owner: str, role: str) -> bytes:
        """Return what `owner` holds as `role`. Raises FileNotFoundError."""
        return self.path(owner, role).read_bytes()

    def share(self, owner: str, role: str, other: str, digest: str) -> bool:
        """Let `other` hold what `owner` holds as `role`; return whether it does now and the bytes have this SHA-256.

        If they do not, `other` holds nothing. Raises StoreFullError when there is no room for another name.
        """
        link = self.path(other, role)
        try:
            link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._link(self.path(owner, role), link) and hashlib.sha256(link.read_bytes()).hexdigest() == digest:
                return True
        except OSError as error:
            raise _full(error, link) from error
        shutil.rmtree(link.parent, ignore_errors=True)
        return False

    def erase(self, owner: str) -> None:
        """Remove all that `owner` holds, and the bytes nobody else holds. Nothing held is no error."""
        folder = self.path(owner, "any").parent
        if not folder.is_dir():
            return
        digests = []
        for role in _names(folder):
            with contextlib.suppress(FileNotFoundError):  # somebody else erases it too
                file = folder / role
                digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
        shutil.rmtree(folder, ignore_errors=True)
        for digest in digests:
            self._drop(self._blobs / digest[:2] / digest)

    def owners(self) -> Iterator[str]:
        """Yield everybody who holds something."""
        return (folder.name for folder in self._jobs.glob("*/*"))

    def usage(self) -> tuple[int, int]:
        """Return how many bytes and files all jobs together hold; bytes that several hold count once."""
        total = files = 0
        for blob in self._blobs.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                total, files = total + blob.stat().st_size, files + 1
        return total, files

    def free_bytes(self) -> int:
        """Return how much room is left on the disk. Raises OSError."""
        return shutil.disk_usage(self._incoming).free

    def prune(self) -> None:
        """Remove temporary files of writers that died and blobs that nobody owns, both older than an hour."""
        before = time.time() - _STALE_SECONDS
        for file in [*self._incoming.iterdir(), *self._blobs.glob("*/*")]:
            try:
                facts = file.stat()
            except FileNotFoundError:
                continue
            if facts.st_nlink == 1 and facts.st_mtime < before:
                file.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes, *, durable: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @staticmethod
    def _link(blob: Path, link: Path) -> bool:
        """Return whether `link` is a name of the blob now; False: it is not there, or has all that a file may have."""
        try:
            try:
                os.link(blob, link)
            except FileExistsError:  # a rerun writes its output again
                link.unlink(missing_ok=True)
                os.link(blob, link)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return False
        return True

    @staticmethod
    def _drop(blob: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if blob.stat().st_nlink == 1:
                blob.unlink()


def _closed(folder: Path, why: str | None) -> StoreClosedError:
    return StoreClosedError(f"PURIFIQA_DATA_DIR: user {os.geteuid()} cannot write {folder}: {why}")


def _full(error: OSError, path: Path) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(error.errno, "the store is full", str(path))
    return error


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - one call, before somebody else erases the folder
    except FileNotFoundError:
        return []
