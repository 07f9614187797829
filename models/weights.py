"""Where other libraries look for weight files, and what they may not do with one: download it, run code in it."""

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

WEIGHTS_DIR = "PURIFIQA_WEIGHTS_DIR"
"""Name of the environment variable that moves every folder below into one; TORCH_HOME and HF_HOME win over it."""

FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class OfflineError(ConnectionError):
    """Code that runs for an image tried to reach the network."""


class Weight(BaseModel):
    """One file that a library needs: where it looks for it, and where the file comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(description="The folder, with {hub}, {huggingface} or {home} for the places below.")
    file: str = Field(description="End of its address; for Hugging Face: owner/model/file.")
    url: str = Field(description="Its address.")

    @property
    def name(self) -> str:
        """Return the file's name on disk; for Hugging Face owner/model/file."""
        return self.file if self.folder == "{huggingface}" else self.file.rpartition("/")[2]

    def path(self) -> Path:
        """Return where the library looks for it now."""
        folder = Path(self.folder.format(hub=torch_hub(), huggingface=huggingface_hub(), home=Path.home()))
        if self.folder != "{huggingface}":
            return folder / self.name
        owner, model, file = self.file.split("/")
        model_folder = folder / f"models--{owner}--{model}"
        head = model_folder / "refs" / "main"
        revision = head.read_text().strip() if head.is_file() else "main"
        return model_folder / "snapshots" / revision / file

    def cure(self) -> str:
        """Return the instruction that brings the file to its place."""
        if self.folder == "{huggingface}":
            return f"run HF_HUB_CACHE={from_home(huggingface_hub())} hf download {self.file.rpartition('/')[0]}"
        return f"save {self.url} as {from_home(self.path())}"


def from_home(path: Path) -> Path:
    """Return the path as a shell on this machine reads it, without whose home it lies in: messages reach others."""
    home = Path.home()
    return "~" / path.relative_to(home) if path.is_relative_to(home) else path


def torch_hub() -> Path:
    """Return the folder in which torch.hub, torchvision and pyiqa keep files."""
    if WEIGHTS_DIR in os.environ and "TORCH_HOME" not in os.environ:
        return Path(os.environ[WEIGHTS_DIR]).expanduser() / "torch" / "hub"
    return Path(torch.hub.get_dir())


def huggingface_hub() -> Path:
    """Return the folder in which huggingface_hub keeps models."""
    if loaded := sys.modules.get("huggingface_hub.constants"):
        return Path(loaded.HF_HUB_CACHE)
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    if weights := os.environ.get(WEIGHTS_DIR):
        return Path(weights).expanduser() / "huggingface" / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface" / "hub"


def move_libraries() -> None:
    """Make the libraries look where PURIFIQA_WEIGHTS_DIR says. Call it before they are imported."""
    if folder := os.environ.get(WEIGHTS_DIR):
        os.environ.setdefault("TORCH_HOME", str(Path(folder).expanduser() / "torch"))
        os.environ.setdefault("HF_HOME", str(Path(folder).expanduser() / "huggingface"))


@contextmanager
def offline() -> Iterator[list[str]]:
    """Raise OfflineError in whatever tries to reach the network from this thread; yield a list of what was tried."""
    _install_gate()
    constants: Any = sys.modules.get("huggingface_hub.constants")
    was_offline = constants and constants.HF_HUB_OFFLINE
    before, attempts = _gate.attempts, list[str]()
    if constants:
        constants.HF_HUB_OFFLINE = True  # else it tries five times, with pauses, before it gives up
    _gate.attempts = attempts
    try:
        yield attempts
    finally:
        _gate.attempts = before
        if constants:
            constants.HF_HUB_OFFLINE = was_offline


@contextmanager
def careful_loading() -> Iterator[Callable[[nn.Module], None]]:
    """Make `torch.load` refuse pickled code; yield a check that raises RuntimeError for a network left half random.

    The check goes by the files loaded within: a network that was given a file without some of its parameters fails.
    """
    load = nn.Module.load_state_dict
    forced = os.environ.get(FORCE_WEIGHTS_ONLY)
    left_out: dict[Tensor, str] = {}

    def load_and_remember(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = load(module, *args, **kwargs)
        for name, parameter in module.named_parameters():
            left_out.pop(parameter, None)
            if name in result.missing_keys:
                left_out[parameter] = name
        return result

    def check(network: nn.Module) -> None:
        if missing := [left_out[parameter] for parameter in network.parameters() if parameter in left_out]:
            raise RuntimeError(f"the file lacks {len(missing)} of the network's parameters, such as {missing[0]}")

    setattr(nn.Module, "load_state_dict", load_and_remember)  # noqa: B010 - mypy forbids the plain assignment
    os.environ[FORCE_WEIGHTS_ONLY] = "1"
    try:
        yield check
    finally:
        setattr(nn.Module, "load_state_dict", load)  # noqa: B010
        os.environ.pop(FORCE_WEIGHTS_ONLY)
        if forced is not None:
            os.environ[FORCE_WEIGHTS_ONLY] = forced


class _Gate(threading.local):
    attempts: list[str] | None = None


_gate = _Gate()


@functools.cache
def _install_gate() -> None:
    # An audit hook sees every road to the network at once and, unlike a patch, leaves other threads alone.
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    attempts: list[str] | None = getattr(_gate, "attempts", None)  # when Python ends, modules lose their names
    if attempts is not None and event in ("urllib.Request", "socket.getaddrinfo", "socket.connect"):
        target = str(arguments[1] if event == "socket.connect" else arguments[0])
        attempts.append(target)
        raise OfflineError(f"nothing is downloaded while an image is being scored: {target}")
