"""Our own folder of big weights: what a user adds is verified, converted to safetensors, and then found by its name."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.availability import AVAILABLE, Availability, unavailable
from models.weights import WEIGHTS_DIR

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a name may be: never a path."""

_ASKED_FOR = re.compile(r"GLOBAL ([\w.]+)")
"""Where torch names the object that it refused to build."""

WEIGHTS, FACTS = "model.safetensors", "facts.json"


class CheckpointError(ValueError):
    """A weight file cannot be used; the message names the file, what is wrong with it, and what to do."""


class PickledObjectsError(CheckpointError):
    """A weight file holds pickled objects beside tensors; they were not built."""


class Published(BaseModel):
    """A weight file as its authors publish it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Our name for it.")
    file: str = Field(description="Its file name.")
    url: str = Field(description="Where it is published.")
    license: str = Field(description="Licence of the weights, as far as it is stated.")
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
        raise CheckpointError(f"{name[:80]!r} is no name for weights: lower-case letters, digits, '.', '_' and '-'")
    return home() / name


def find(name: str, kind: str) -> Facts | None:
    """Return the facts about added weights of this name and kind; None if there are none. Raises CheckpointError."""
    facts = _read_facts(folder(name) / FACTS)
    return facts if facts and facts.kind == kind else None


def added() -> list[Facts]:
    """Return the facts about everything that was added, by name. Raises CheckpointError."""
    files = (file for file in sorted(home().glob(f"*/{FACTS}")) if NAME.fullmatch(file.parent.name))
    return [facts for file in files if (facts := _read_facts(file))]


def _read_facts(file: Path) -> Facts | None:
    try:
        facts = Facts.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{file} cannot be read; remove {file.parent} and add the weights again") from error
    if facts.name != file.parent.name:
        raise CheckpointError(f"{file} is about {facts.name[:80]}; remove {file.parent} and add the weights again")
    return facts


def availability(name: str, kind: str, published: Published | None = None) -> Availability:
    """Return whether weights of this name and kind are here, without reading them; `published` is where to get them."""
    try:
        facts = find(name, kind)
    except CheckpointError as error:
        return unavailable(str(error), again(name, published))
    if facts and (file := folder(name) / WEIGHTS).is_file():
        return AVAILABLE
    if facts:
        return unavailable(f"{file} is missing", again(name, published))
    if published:
        return unavailable(f"the weights {name} ({published.file}) were not added", published.cure)
    return unavailable(f"the weights {name} were not added", f"Run: purifiqa weights add {name} FILE")


def again(name: str, published: Published | None = None) -> str:
    """Return the instruction that replaces added weights."""
    if published:
        return f"{published.cure} --force"
    return f"Run: purifiqa weights add {name} FILE --force"


def add(
    name: str, kind: str, source: Path, state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
) -> Facts:
    """Keep converted weights under `name`, all or nothing, replacing older ones; return the facts about them."""
    place = folder(name)
    partial = place.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
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
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def load(name: str, kind: str) -> tuple[dict[str, Tensor], Facts]:
    """Return the verified weights of this name and the facts about them. Raises CheckpointError."""
    facts = find(name, kind)
    if facts is None:
        raise CheckpointError(availability(name, kind).explanation)
    file = folder(name) / WEIGHTS
    verify(facts)
    return load_file(file), facts


def verify(facts: Facts) -> None:
    """Raise CheckpointError unless the kept weights are, byte by byte, those that were added."""
    file = folder(facts.name) / WEIGHTS
    if not file.is_file():
        raise CheckpointError(f"{file} is missing. {again(facts.name)}")
    if digest(file) != facts.sha256:
        raise CheckpointError(f"{file} is not what was added. {again(facts.name)}")


def check_published(file: Path, published: Published) -> None:
    """Raise CheckpointError unless `file` is the published one, as far as its size and hash are known."""
    if not file.is_file():
        raise CheckpointError(f"{file} is not a file; {published.file} is published at {published.url}")
    if published.size is not None and file.stat().st_size != published.size:
        raise CheckpointError(
            f"{file} has {file.stat().st_size} bytes instead of {published.size}: fetch {published.url} again"
        )
    if published.sha256 is not None and digest(file) != published.sha256:
        raise CheckpointError(f"{file} has another sha256 than the published file: fetch {published.url} again")
    if published.git_sha1 is not None and git_digest(file) != published.git_sha1:
        raise CheckpointError(f"{file} has another git sha1 than the published file: fetch {published.url} again")


def read_state(file: Path) -> dict[str, Any]:
    """Return what a .safetensors, .pth, .pt or .ckpt file holds; pickled code is refused. Raises CheckpointError."""
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} does not exist") from error
    except (SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0][:300] or "it is empty or cut off"
        if file.suffix != ".safetensors" and not _is_pickled(file):
            reason = NO_WEIGHTS
        raise CheckpointError(f"{file} cannot be read as weights: {reason}") from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":  # pickle is not imported here, on purpose
            raise
        if not _is_pickled(file):
            raise CheckpointError(f"{file} cannot be read as weights: {NO_WEIGHTS}") from error
        named = _ASKED_FOR.search(str(error))
        what = f" ({named[1]})" if named else ""
        raise PickledObjectsError(f"{file} holds more than tensors{what}, and running it is refused") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds a {type(state).__name__}, not a dictionary of tensors")
    return state


NO_WEIGHTS = "it is neither .safetensors nor what torch.save writes"


def _is_pickled(file: Path) -> bool:
    """Return whether a file begins as torch's do: as a zip, or with a pickle's PROTO and a version."""
    with file.open("rb") as stream:
        start = stream.read(2)
    return start == b"PK" or (start[:1] == b"\x80" and start[1:2] <= b"\x05")


def check_state(file: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless `state` has exactly the names and shapes of `expected`, all finite."""
    missing, left_over = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or left_over:
        words = [f"lacks {len(missing)} tensors, such as {missing[0]}"] if missing else []
        words += [f"has {len(left_over)} too many, such as {left_over[0]}"] if left_over else []
        raise CheckpointError(f"{file} is of another architecture: it {' and '.join(words)}")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{file} is of another architecture: {name} is a {type(tensor).__name__}")
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
            raise CheckpointError(f"{file} is of another architecture: {name} is {shapes}")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{file} is damaged: {name} holds NaN or infinity")


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
