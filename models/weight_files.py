"""Weight files of others: read without running anything in them, and held against the network they should be of."""

import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.checkpoints import CheckpointError

_ASKED_FOR = re.compile(r"GLOBAL ([\w.]+)")
"""Where torch names the object that it refused to build."""

DAMAGED = (  # not Exception: an interrupt may arrive in the middle
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What readers of weights raise at a file that is cut off, or of which a byte is another."""


class PickledObjectsError(CheckpointError):
    """A weight file holds pickled objects beside tensors; they were not built."""


def read_state(file: Path) -> dict[str, Any]:
    """Return what a .safetensors, .pth, .pt or .ckpt file holds; pickled code is refused. Raises CheckpointError."""
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        _check_packed(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} does not exist") from error
    except DAMAGED as error:
        reason = str(error).strip().partition("\n")[0][:300] or "it is empty or cut off"
        if not isinstance(error, OSError | RuntimeError | SafetensorError | EOFError):
            reason = f"it is damaged ({type(error).__name__}: {reason})"
        if file.suffix != ".safetensors" and not isinstance(error, OSError) and not _is_pickled(file):
            reason = NO_WEIGHTS
        raise CheckpointError(f"{file} cannot be read as weights: {reason}") from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":  # pickle is not imported here, on purpose
            raise
        if not _is_pickled(file):
            raise CheckpointError(f"{file} cannot be read as weights: {NO_WEIGHTS}") from error
        named = _ASKED_FOR.search(str(error))
        what = f" ({named[1]})" if named else ""
        raise PickledObjectsError(f"{file} holds more than tensors{what}, which is refused; nothing was run") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds a {type(state).__name__}, not a dictionary of tensors")
    return state


NO_WEIGHTS = "it is neither a .safetensors file nor one that torch.save wrote"


def _check_packed(file: Path) -> None:
    """Raise RuntimeError for a zip of which more comes out than is in it; `torch.save` compresses nothing."""
    with file.open("rb") as stream:
        if stream.read(2) != b"PK":
            return
        with zipfile.ZipFile(stream) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > file.stat().st_size:
            raise RuntimeError(f"it unpacks to {unpacked} bytes, more than the file has")


def _is_pickled(file: Path) -> bool:
    """Return whether a file begins as torch's do: as a zip, or with a pickle's PROTO and a version."""
    with file.open("rb") as stream:
        start = stream.read(2)
    return start == b"PK" or (start[:1] == b"\x80" and start[1:2] <= b"\x05")


def check_state(file: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless `state` has exactly the names and shapes of `expected`, all plain and finite."""
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
        if not _is_plain(tensor) or (expected[name].is_floating_point() and not tensor.is_floating_point()):
            kind = "on no device" if tensor.is_meta else f"{tensor.layout} of {tensor.dtype}".replace("torch.", "")
            raise CheckpointError(f"{file} is of another architecture: {name} is {kind}, no plain real numbers")
        if not bool(torch.isfinite(tensor.to(expected[name].dtype)).all()):
            raise CheckpointError(f"{file} is damaged: {name} holds NaN or infinity")


def _is_plain(tensor: Tensor) -> bool:
    held = tensor.layout is torch.strided and not tensor.is_meta
    return held and not tensor.is_complex() and not tensor.is_quantized
