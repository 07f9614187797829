"""Our own folder of big weights: what a user adds is verified, converted to safetensors, and then found by its name."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.availability import AVAILABLE, Availability, unavailable
from models.weights import WEIGHTS_DIR

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a name may be: never a path."""

WEIGHTS, FACTS = "model.safetensors", "facts.json"

_UNREADABLE = "is not readable by the user that runs this process"
_DAY = 86400
_TRIES = 10
"""How often weights are put in their place where another process puts its own there."""


class CheckpointError(ValueError):
    """A weight file cannot be used; the message names the file, what is wrong with it, and what to do."""


class Published(BaseModel):
    """A weight file as its authors publish it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Our name for it.")
    file: str = Field(description="Its file name.")
    url: str = Field(description="Where it is published.")
    license: str = Field(description="License of the weights, as far as it is stated.")
    size: int | None = Field(None, description="Bytes, where known.")
    sha256: str | None = Field(None, description="Of the published file, where known.")
    git_sha1: str | None = Field(None, description="Of the published file as a git blob, where known.")
    download: str | None = Field(None, description="An address that answers with the file itself; null: by hand only.")

    @property
    def cure(self) -> str:
        """The instruction that brings the weights here."""
        if self.download:
            return f"Run: purifiqa weights pull {self.name}"
        return f"Save {self.file} from {self.url}, then run: purifiqa weights add {self.name} {self.file}"


class Facts(BaseModel):
    """What was added, written beside the converted weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str = Field(description="What it is: denoiser, restorer, filter or metric.")
    source: str = Field(description="Name of the file it was made from.")
    source_sha256: str
    sha256: str = Field(description="Of the converted weights.")
    config: dict[str, Any] = Field({}, description="What the network is built with.")


def home() -> Path:
    """Return the folder of added weights."""
    if folder := os.environ.get(WEIGHTS_DIR):
        return Path(folder).expanduser() / "purifiqa"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "purifiqa" / "weights"


def folder(name: str) -> Path:
    """Return where the weights of this name are kept. Raises CheckpointError for what is no name."""
    if not NAME.fullmatch(name):
        raise CheckpointError(
            f"{name[:80]!r} is not a name for weights: use lower-case letters, digits, '.', '_' and '-'"
        )
    return home() / name


def find(name: str, kind: str) -> Facts | None:
    """Return the facts about added weights of this name and kind; None if there are none. Raises CheckpointError."""
    facts = facts_of(name)
    return facts if facts and facts.kind == kind else None


def names() -> list[str]:
    """Return the names of everything that was added, readable or not."""
    return sorted(file.parent.name for file in home().glob(f"*/{FACTS}") if NAME.fullmatch(file.parent.name))


def facts_of(name: str) -> Facts | None:
    """Return the facts about added weights of this name, of any kind; None for none. Raises CheckpointError."""
    return _read_facts(folder(name) / FACTS)


def _read_facts(file: Path) -> Facts | None:
    try:
        facts = Facts.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{file} cannot be read; remove {file.parent} and add the weights again") from error
    if facts.name != file.parent.name:
        raise CheckpointError(f"{file} describes {facts.name[:80]}; remove {file.parent} and add the weights again")
    return facts


def availability(name: str, kind: str, published: Published | None = None) -> Availability:
    """Return whether weights of this name and kind are here, without reading them; `published` is where to get them."""
    try:
        facts = facts_of(name)
    except CheckpointError as error:
        return unavailable(str(error), again(name, published))
    if facts and facts.kind != kind:
        cure = again(name, published) if published else "Choose others: `purifiqa weights list` shows their kinds"
        return unavailable(f"the weights {name} are for a {facts.kind}, not for a {kind}", cure)
    if facts and not (file := folder(name) / WEIGHTS).is_file():
        return unavailable(f"{file} is missing", again(name, published))
    if facts:
        return AVAILABLE if os.access(file, os.R_OK) else unavailable(f"{file} {_UNREADABLE}", f"Run: chmod a+r {file}")
    if published:
        return unavailable(f"the weights {name} ({published.file}) have not been added", published.cure)
    return unavailable(f"the weights {name} have not been added", f"Run: purifiqa weights add {name} FILE")


def again(name: str, published: Published | None = None) -> str:
    """Return the instruction that replaces added weights."""
    if published:
        return f"{published.cure} --force"
    return f"Run: purifiqa weights add {name} FILE --force"


def add(
    name: str, kind: str, source: Path, state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
) -> Facts:
    """Keep converted weights under `name`, all or nothing, replacing older ones; return the facts about them.

    Raises OSError if they cannot be written; older ones are then still there.
    """
    place = folder(name)
    _sweep(name)
    partial = place.with_name(f".{name}.{uuid.uuid4().hex}")  # in two containers both processes may be number 1
    partial.mkdir(parents=True)
    try:
        save_file({key: value.contiguous() for key, value in state.items()}, partial / WEIGHTS)
        facts = Facts(
            name=name,
            kind=kind,
            source=source.name,
            source_sha256=digest(source) if source.is_file() else "",
            sha256=digest(partial / WEIGHTS),
            config=dict(config or {}),
        )
        (partial / FACTS).write_text(facts.model_dump_json(indent=2))
        (partial / WEIGHTS).chmod((partial / FACTS).stat().st_mode)  # safetensors lets nobody else read what it writes
        _put(partial, place)
    except SafetensorError as error:
        room = f"free some space, or set {WEIGHTS_DIR} to a folder elsewhere"
        raise OSError(f"{partial / WEIGHTS} cannot be written: {error}; {room}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def _sweep(name: str) -> None:
    """Remove what processes that were killed left half written under this name, a day ago or earlier."""
    for leftover in home().glob(f".{name}.*"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - _DAY:
                shutil.rmtree(leftover, ignore_errors=True)


def _put(partial: Path, place: Path) -> None:
    """Rename a folder to `place`; what is there is gone only then. Another process may do the same meanwhile."""
    old = partial.with_name(f"{partial.name}.old")
    for attempt in range(_TRIES):
        remove(old)
        with contextlib.suppress(FileNotFoundError):
            place.rename(old)
        try:
            partial.rename(place)
        except OSError as error:
            came_between = error.errno in (errno.ENOTEMPTY, errno.EEXIST) and attempt < _TRIES - 1
            if not came_between:
                with contextlib.suppress(OSError):
                    old.rename(place)
                raise
        else:
            remove(old)
            return


def remove(place: Path) -> None:
    """Remove a folder, or a link to one and not what it leads to, or a file; nothing if nothing is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def load(name: str, kind: str) -> tuple[dict[str, Tensor], Facts]:
    """Return the verified weights of this name and the facts about them. Raises CheckpointError."""
    while True:
        facts = find(name, kind)
        if facts is None:
            raise CheckpointError(availability(name, kind).explanation)
        try:
            verify(facts)
            state = load_file(folder(name) / WEIGHTS)
        except (CheckpointError, OSError, SafetensorError):
            if find(name, kind) == facts:
                raise
        else:
            if find(name, kind) == facts:  # else others were added meanwhile: which are these?
                return state, facts


def verify(facts: Facts) -> None:
    """Raise CheckpointError unless the kept weights are, byte by byte, those that were added."""
    file = folder(facts.name) / WEIGHTS
    if not file.is_file():
        raise CheckpointError(f"{file} is missing. {again(facts.name)}")
    if not os.access(file, os.R_OK):
        raise CheckpointError(f"{file} {_UNREADABLE}. Run: chmod a+r {file}")
    if digest(file) != facts.sha256:
        raise CheckpointError(f"{file} has changed since it was added. {again(facts.name)}")


def check_published(file: Path, published: Published) -> None:
    """Raise CheckpointError unless `file` is the published one, as far as its size and hash are known."""
    if not file.is_file():
        raise CheckpointError(f"{file} is not a file; {published.file} is published at {published.url}")
    if published.size is not None and file.stat().st_size != published.size:
        raise CheckpointError(
            f"{file} has {file.stat().st_size} bytes instead of {published.size}: download {published.url} again"
        )
    if published.sha256 is not None and digest(file) != published.sha256:
        raise CheckpointError(f"{file} has a different sha256 than the published file: download {published.url} again")
    if published.git_sha1 is not None and git_digest(file) != published.git_sha1:
        raise CheckpointError(
            f"{file} has a different git sha1 than the published file: download {published.url} again"
        )


def digest(file: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_digest(file: Path) -> str:
    """Return the sha1 by which git knows a file's content, hexadecimal."""
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Entry(NamedTuple):
    """A published weight file that can be added by name."""

    published: Published
    kind: str
    """What it becomes: denoiser, restorer, filter or metric."""
    add: Callable[[Path], Facts]
    """Verifies the file, converts it, and adds it. Raises CheckpointError."""
    partners: tuple[Published, ...] = ()
    """Files that must lie beside it."""
