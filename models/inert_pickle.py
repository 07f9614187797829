"""Reads what `torch.save` pickled without running any of it: tensors come back, objects of torch as inert shells.

Whole pickled networks (`torch.save(network)`) are published as weights, and a plain unpickler would run whatever such
a file names. Here a file gets ordered dictionaries, sets, tensors and empty shells, and nothing else: any other name in
it is refused and told. Both of torch's formats are read, the zip archive and the older sequence of pickles (`LEGACY`).
"""

import io
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from pickle import Unpickler, UnpicklingError  # noqa: TID251 - this file is the restricted unpickler
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from models.checkpoints import CheckpointError
from models.weight_files import DAMAGED

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The first pickle of torch's older format: its magic number."""
ZIP = b"PK\x03\x04"
LARGEST_PICKLE = 4 << 20
"""Bytes of one pickle, without the tensors' content: a hundred times what a network of 140 tensors takes."""
MOST_MODULES = 10_000

_SHELLS = ("torch.nn.", "torchvision.models.", "__main__.")
_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
_DAMAGED = (*DAMAGED, UnpicklingError)


class Shell:
    """Stands for an object of a class that is not built: its attributes, and nothing that could run."""

    def __new__(cls, *arguments: Any, **named: Any) -> "Shell":  # noqa: ARG004 - taken and dropped
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take whatever the class would have been built with, and drop it."""


class _Storage(NamedTuple):
    memory: torch.UntypedStorage
    dtype: torch.dtype


# Instances without attributes, not functions: a pickle may set attributes of whatever it is given.
class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
        # torch would enlarge the storage, with whatever lies in memory behind it
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        there = storage.memory.nbytes() // storage.dtype.itemsize
        if min((offset, *size, *stride)) < 0 or (0 not in size and last >= there):
            raise ValueError("a tensor of more numbers than are there")
        return torch.empty(0, dtype=storage.dtype).set_(storage.memory, offset, tuple(size), tuple(stride))


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: Tensor, *rest: Any) -> Tensor:
        return data


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("torch.nn.parameter", "Parameter"): _RebuildParameter(),  # how torch 0.4 wrote it
}


def read(file: Path) -> Any:
    """Return what is pickled in a file of `torch.save`, tensors on the CPU. Raises CheckpointError."""
    try:
        with file.open("rb") as stream:
            begin = stream.read(len(LEGACY))
            stream.seek(0)
            if begin == LEGACY:
                return _Legacy(file, stream).read()
            if begin.startswith(ZIP):
                return _read_zip(file, stream)
    except CheckpointError:
        raise
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise CheckpointError(f"{file} cannot be read as weights, it is cut off or damaged: {reason}") from error
    raise CheckpointError(f"{file} cannot be read as weights: it was not written by torch.save")


def state_of(file: Path, network: Shell) -> dict[str, Tensor]:
    """Return the parameters and buffers of a network that came back as a shell. Raises CheckpointError."""
    state: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", network)]
    for _ in range(MOST_MODULES):
        if not waiting:
            return state
        prefix, module = waiting.pop()
        parts = [_dictionary(module, name) for name in ("_parameters", "_buffers", "_modules")]
        if not isinstance(module, Shell) or any(part is None for part in parts):
            raise CheckpointError(f"{file} holds no network: {prefix or 'what it holds'} is a {type(module).__name__}")
        parameters, buffers, modules = (part or {} for part in parts)
        for name, tensor in (*parameters.items(), *buffers.items()):
            if isinstance(tensor, Tensor):
                state[f"{prefix}{name}"] = tensor
            elif tensor is not None:
                raise CheckpointError(f"{file} holds no network: {prefix}{name} is a {type(tensor).__name__}")
        waiting += [(f"{prefix}{name}.", child) for name, child in modules.items() if child is not None]
    raise CheckpointError(f"{file} holds no network that ends: it has over {MOST_MODULES} modules")


def _dictionary(module: Any, name: str) -> dict[Any, Any] | None:
    found = vars(module).get(name) if isinstance(module, Shell) else None
    return found if isinstance(found, dict) else None


class _Reader(Unpickler):
    """Unpickles one stretch of bytes in which only harmless names occur."""

    def __init__(self, file: Path, data: bytes, storages: Any) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._file, self._storages = file, storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _DTYPES[name]
        if f"{module}.".startswith(_SHELLS) and "." not in name:
            return type(name, (Shell,), {})
        raise CheckpointError(
            f"{self._file} holds more than tensors: it asks for {module}.{name}, which is refused; nothing was run"
        )

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 2:
            raise ValueError("a reference to nothing known")
        if pid[0] == "module":  # a class, with its source code, which is dropped
            return pid[1]
        if pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise ValueError("a reference to nothing known")
        return self._storages(*pid[1:])


def _pickle(stream: BinaryIO) -> bytes:
    """Return the bytes of the next pickle. Raises ValueError for one that would take much memory."""
    start = stream.tell()
    for opcode, argument, place in pickletools.genops(stream):
        if place is not None and place - start > LARGEST_PICKLE:
            raise ValueError("its pickle is too long")
        if "PUT" in opcode.name and isinstance(argument, int) and argument > LARGEST_PICKLE:
            raise ValueError("its pickle counts too far")
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)


def _bytes(numel: Any, dtype: torch.dtype, left: int) -> int:
    """Return how many bytes so many numbers take. Raises ValueError if there cannot be that many."""
    size = int(numel) * dtype.itemsize
    if not 0 <= size <= left:
        raise ValueError(f"it promises {numel} numbers, more than it can hold")
    return size


def _read_zip(file: Path, stream: BinaryIO) -> Any:
    left = file.stat().st_size
    read: dict[str, _Storage] = {}
    with zipfile.ZipFile(stream) as archive:
        (pickled,) = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        root = pickled.removesuffix("data.pkl")
        order = [entry for entry in archive.infolist() if entry.filename == f"{root}byteorder"]
        if order and (order[0].file_size > 8 or archive.read(order[0]) != b"little"):
            raise ValueError("its numbers are big-endian")

        def storage(dtype: torch.dtype, key: str, _: Any, numel: int) -> _Storage:
            nonlocal left
            if key not in read:
                entry = archive.getinfo(f"{root}data/{key}")
                size = _bytes(numel, dtype, left)
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != size:
                    raise ValueError(f"the numbers of {entry.filename} are not as many as it promises")
                left -= size
                read[key] = _Storage(_memory(archive.read(entry)), dtype)
            return read[key]

        if archive.getinfo(pickled).file_size > LARGEST_PICKLE:
            raise ValueError("its pickle is too long")
        return _Reader(file, _pickle(io.BytesIO(archive.read(pickled))), storage).load()


def _memory(data: bytes) -> torch.UntypedStorage:
    memory = torch.UntypedStorage(len(data))  # type: ignore[no-untyped-call]
    if data:
        torch.empty(0, dtype=torch.uint8).set_(memory).copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return memory


class _Legacy:
    """Pickles one after the other: magic number, version, machine, the object, its storages' keys; then their bytes."""

    def __init__(self, file: Path, stream: BinaryIO) -> None:
        self._file, self._stream = file, stream
        self._left = file.stat().st_size
        self._storages: dict[str, _Storage] = {}

    def read(self) -> Any:
        _, version, machine, found = (self._next() for _ in range(4))
        if version != 1001 or not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError("it is of another version of the format, or big-endian")
        keys = self._next()
        if set(keys) != self._storages.keys():
            raise ValueError("the numbers of some tensors are missing")
        for key in keys:
            memory, dtype = self._storages[key]
            size = memory.nbytes()
            numel = int.from_bytes(self._stream.read(8), "little")
            data = self._stream.read(size)
            if numel * dtype.itemsize != size or len(data) != size:
                raise ValueError("the numbers of some tensors are missing")
            memory.copy_(_memory(data))
        return found

    def _next(self) -> Any:
        return _Reader(self._file, _pickle(self._stream), self._storage).load()

    def _storage(self, dtype: torch.dtype, key: str, _: Any, numel: int, view: Any = None) -> _Storage:
        if key not in self._storages:
            size = _bytes(numel, dtype, self._left)
            self._left -= size
            self._storages[key] = _Storage(torch.UntypedStorage(size), dtype)  # type: ignore[no-untyped-call]
        if view is None:
            return self._storages[key]
        _, offset, length = view
        begin, end = (int(one) * dtype.itemsize for one in (offset, offset + length))
        if not 0 <= begin <= end <= self._storages[key].memory.nbytes():
            raise ValueError("a view of numbers that are not there")
        return _Storage(self._storages[key].memory[begin:end], dtype)
