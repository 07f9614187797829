"""How `purifiqa weights pull` fetches a published file: it goes on where it stopped, and keeps only what is right."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import httpx2

from models.checkpoints import CheckpointError, Published, check_published

ATTEMPTS = 5
"""How often in a row the connection may break without bringing a byte."""
LARGEST = 8 << 30
"""Bytes after which a server that does not say how much it sends is not listened to any more."""
SECONDS = 30
"""How long a server may be silent."""

Told = Callable[[int, int | None], None]
"""Is told how many bytes are here, and of how many, if that is known."""


class DownloadError(OSError):
    """A published file could not be fetched; the message says from where, why, and what to do."""


def fetch(published: Published, folder: Path, told: Told) -> Path:
    """Return the published file, fetched into `folder` or found there, verified as far as its hash is known.

    Another file under its name there is replaced. What an interrupted call left is gone on with, if the server still
    has the same file. Raises DownloadError.
    """
    file = folder / published.file
    if file.is_file():
        try:
            check_published(file, published)
        except CheckpointError:
            file.unlink()  # a power cut, say
        else:
            return file
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{published.file}.part"
    with part.open("ab") as stream, _alone(stream, part):
        _complete(published, stream, part, told)
        try:
            check_published(part, published)
        except CheckpointError as error:
            part.unlink()
            _validator(part).unlink(missing_ok=True)
            raise DownloadError(
                f"{published.download} returned a different file than the published one: {error}"
            ) from error
        part.rename(file)
    _validator(part).unlink(missing_ok=True)
    return file


def _complete(published: Published, stream: BinaryIO, part: Path, told: Told) -> None:
    fruitless = 0
    while True:
        before = stream.tell()
        try:
            _go_on(published, stream, part, told)
        except httpx2.TransportError as error:
            fruitless = 0 if stream.tell() > before else fruitless + 1
            if fruitless >= ATTEMPTS or isinstance(error, httpx2.UnsupportedProtocol):
                reason = str(error) or type(error).__name__
                again = "run the same command again to resume"
                raise DownloadError(f"{published.download} could not be downloaded: {reason}; {again}") from error
        except httpx2.HTTPError as error:
            raise DownloadError(f"{published.download} could not be downloaded: {error}") from error
        except DownloadError:
            raise
        except OSError as error:
            raise DownloadError(
                f"{part} cannot be written: {error.strerror}; free some space and run it again"
            ) from error
        else:
            return


def _go_on(published: Published, stream: BinaryIO, part: Path, told: Told) -> None:
    address = str(published.download)
    here = stream.tell()
    known = _validator(part).read_text() if _validator(part).is_file() else ""
    headers = {"Accept-Encoding": "identity"}
    if here and known:
        headers |= {"Range": f"bytes={here}-", "If-Range": known}
    with httpx2.stream("GET", address, headers=headers, follow_redirects=True, timeout=SECONDS) as answer:
        if answer.status_code == 416 and "Range" in headers:
            if answer.headers.get("content-range", "").endswith(f"/{here}"):
                return
            stream.truncate(0)  # the file became shorter
            _validator(part).unlink()
            raise httpx2.ReadError("the file on the server has changed")
        _check_answer(published, answer)
        if answer.status_code != 206:
            stream.truncate(0)
            stream.seek(0)
            here = 0
        elif not answer.headers.get("content-range", "").startswith(f"bytes {here}-"):
            raise DownloadError(f"{address} returned another part of the file than requested")
        total = _total(answer, here)
        _check_size(published, part, here, total)
        _validator(part).write_text(_strong(answer))
        told(here, total)
        for block in answer.iter_raw():  # as it comes: blocks of one size would lose what came before a break
            stream.write(block)
            stream.flush()
            here += len(block)
            if here > (total or LARGEST):
                raise DownloadError(f"{address} sends more bytes than expected")
            told(here, total)
        if total and here < total:
            raise httpx2.ReadError("the connection ended before the end of the file")


def _total(answer: httpx2.Response, here: int) -> int | None:
    """Return how many bytes the whole file has, None if that is not told; a server may send less than was asked for."""
    whole = answer.headers.get("content-range", "").rpartition("/")[2]
    if answer.status_code == 206 and whole.isdecimal():
        return int(whole)
    length = answer.headers.get("content-length")
    return here + int(length) if length else None


def _check_answer(published: Published, answer: httpx2.Response) -> None:
    by_hand = (
        f"Save {published.file} from {published.url} by hand, then run: purifiqa weights add {published.name} FILE"
    )
    if answer.status_code not in (200, 206):
        raise DownloadError(f"{published.download} answered with status {answer.status_code}. {by_hand}")
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise DownloadError(f"{published.download} answered with a web page instead of the file. {by_hand}")
    if str(published.download).startswith("https:") and answer.url.scheme != "https":
        raise DownloadError(f"{published.download} redirects to {answer.url}, which is not encrypted. {by_hand}")


def _check_size(published: Published, part: Path, here: int, total: int | None) -> None:
    if published.size and total and total != published.size:
        raise DownloadError(f"{published.download} has {total} bytes, but the published file has {published.size}")
    needed = 2 * total - here if total else 0  # what is added is a converted copy
    if (free := shutil.disk_usage(part.parent).free) < needed:
        raise DownloadError(
            f"{part.parent} has {free / 1e6:,.0f} MB free, but {published.name} needs {needed / 1e6:,.0f} MB:"
            " free some space, or set PURIFIQA_WEIGHTS_DIR to a folder elsewhere"
        )


def _validator(part: Path) -> Path:
    """Where the mark lies by which the server knows whether its file is still the same."""
    return part.with_name(f"{part.name}.mark")


def _strong(answer: httpx2.Response) -> str:
    mark: str = answer.headers.get("etag", "")
    return mark if mark and not mark.startswith("W/") else answer.headers.get("last-modified", "")


@contextlib.contextmanager
def _alone(stream: BinaryIO, part: Path) -> Iterator[None]:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DownloadError(f"{part} is being downloaded by another process") from error
    yield
