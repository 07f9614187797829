"""Pickled networks become tensors and shells, in both of torch's formats; whatever else they ask for is refused."""

import os
import pickletools
import zipfile

import pytest
import torch
from official_files import Command, Net, bare_pickle, metaiqa_file, small_backbones
from torch import nn

from models import inert_pickle
from models.checkpoints import CheckpointError

FORMATS = pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])


@pytest.fixture
def file(tmp_path):
    return tmp_path / "network.pt"


@FORMATS
def test_every_tensor_of_a_pickled_network_comes_back_bit_by_bit(file, monkeypatch, legacy):
    small_backbones(monkeypatch)
    expected = metaiqa_file(file, legacy=legacy).state_dict()
    found = inert_pickle.read(file)
    assert isinstance(found, inert_pickle.Shell)
    assert not isinstance(found, nn.Module)
    state = inert_pickle.state_of(file, found)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert {tensor.device.type for tensor in state.values()} == {"cpu"}


def test_the_look_alike_is_written_as_torch_0_4_wrote_it(file, monkeypatch):
    small_backbones(monkeypatch)
    metaiqa_file(file)
    assert file.read_bytes().startswith(inert_pickle.LEGACY)
    with file.open("rb") as stream:
        names = set()
        for _ in range(4):
            names |= {str(argument) for opcode, argument, _ in pickletools.genops(stream) if opcode.name == "GLOBAL"}
    assert {"__main__ Net", "__main__ BaselineModel1", "torch.nn.parameter Parameter"} <= names
    assert {"torch.cuda FloatStorage", "torchvision.models.resnet ResNet"} <= names


@FORMATS
def test_views_of_one_storage_and_other_types_of_numbers_come_back(file, legacy):
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {"a": whole[1:3, ::2], "b": whole.t(), "c": torch.arange(3), "d": torch.ones(2).half(), "e": whole[:0]}
    torch.save(tensors, file, _use_new_zipfile_serialization=not legacy)
    found = inert_pickle.read(file)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


@FORMATS
def test_a_pickle_that_would_run_a_command_is_refused_and_the_command_named(file, tmp_path, monkeypatch, legacy):
    small_backbones(monkeypatch)
    trap = tmp_path / "ran"
    metaiqa_file(file, legacy=legacy, more=Command(f"touch {trap}"))
    with pytest.raises(CheckpointError, match=r"asks for (posix|nt)\.system, which is refused") as caught:
        inert_pickle.read(file)
    assert str(file) in str(caught.value)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        (b"cbuiltins\neval\n", "builtins.eval"),
        (b"c__builtin__\ngetattr\n", "__builtin__.getattr"),
        (b"ctorch._utils\n_import_dotted_name\n", "torch._utils._import_dotted_name"),
        (b"ctorch.hub\nload\n", "torch.hub.load"),
        (b"ctorch.nnx\nModule\n", "torch.nnx.Module"),
        (b"ctorch\nload\n", "torch.load"),
        (b"X\x08\x00\x00\x00torch.nnX\x0a\x00\x00\x00os.system.x\x93", None),
        (b"ccollections\nOrderedDict.fromkeys\n", "collections.OrderedDict.fromkeys"),
    ],
)
def test_no_other_name_is_looked_up(file, named, shown):
    pickled = b"\x80\x04" + named + b"."
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
    with pytest.raises(CheckpointError, match=f"asks for {shown}, which" if shown else "x|refused|damaged"):
        inert_pickle.read(file)


def test_nothing_that_a_pickle_is_given_can_be_changed_for_the_next_file(file, tmp_path):
    rebuild = b"ctorch._utils\n_rebuild_parameter\n"
    for target in (rebuild, b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"):
        pickled = b"\x80\x02" + target + b"N}X\x08\x00\x00\x00__call__K\x01s\x86b."
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x/data.pkl", pickled)
        with pytest.raises(CheckpointError):
            inert_pickle.read(file)
    torch.save({"a": torch.ones(2)}, tmp_path / "next.pt")
    assert torch.equal(inert_pickle.read(tmp_path / "next.pt")["a"], torch.ones(2))


@FORMATS
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_an_error_wherever_it_is_cut(file, legacy, share):
    torch.save({"a": torch.ones(1000), "b": torch.zeros(500)}, file, _use_new_zipfile_serialization=not legacy)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        inert_pickle.read(file)


def test_a_changed_byte_of_a_zip_is_noticed(file):
    torch.save({"a": torch.ones(1000)}, file)
    data = bytearray(file.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f" * 100) + 200] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="CRC"):
        inert_pickle.read(file)


@pytest.mark.parametrize("numel", [10**15, -1, 2**63])
def test_absurd_sizes_are_refused_before_memory_is_taken(file, numel):
    class Storage:
        def __init__(self, numel):
            self.numel = numel

    class Pickler(__import__("pickle").Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", value.numel) if isinstance(value, Storage) else None

    with file.open("wb") as stream:
        stream.write(inert_pickle.LEGACY)
        bare = [1001, {"little_endian": True}, [Storage(numel)], ["0"]]
        for one in bare:
            Pickler(stream, protocol=2).dump(one)
    with pytest.raises(CheckpointError, match="more than it can hold"):
        inert_pickle.read(file)


@pytest.mark.parametrize("order", [b"big", b"little" * 1000])
def test_a_zip_of_another_byte_order_is_refused(file, order):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/byteorder", order)
    with pytest.raises(CheckpointError, match="big-endian"):
        inert_pickle.read(file)


def test_compressed_numbers_are_refused_before_they_are_unpacked(file, tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        inert_pickle.read(file)


def test_a_view_larger_than_its_numbers_is_refused(file):
    torch.save({"a": torch.ones(4)}, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    assert data.count(b"K\x04\x85") == 1
    file.write_bytes(data.replace(b"K\x04\x85", b"K\x05\x85"))
    with pytest.raises(CheckpointError, match="more numbers than are there"):
        inert_pickle.read(file)


def test_a_pickle_that_counts_to_a_billion_takes_no_memory(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(CheckpointError, match="counts too far"):
        inert_pickle.read(file)


def test_a_network_that_contains_itself_ends(file):
    shell = inert_pickle.Shell()
    vars(shell).update(_parameters={}, _buffers={}, _modules={})
    vars(shell)["_modules"].update(a=shell, b=shell)
    with pytest.raises(CheckpointError, match="no network that ends"):
        inert_pickle.state_of(file, shell)


@pytest.mark.parametrize(
    "attributes", [{}, {"_parameters": 3}, {"_parameters": {"a": "b"}}, {"_modules": {"a": {}}}], ids=str
)
def test_what_is_no_network_is_refused(file, attributes):
    shell = inert_pickle.Shell()
    vars(shell).update({"_parameters": {}, "_buffers": {}, "_modules": {}, **attributes} if attributes else {})
    with pytest.raises(CheckpointError, match="holds no network"):
        inert_pickle.state_of(file, shell)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\x80\x02}.", os.urandom(64)], ids=["empty", "html", "dict", "noise"]
)
def test_what_torch_did_not_write_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"was not written by torch\.save"):
        inert_pickle.read(file)


def test_a_second_magic_number_does_not_help(file):
    bare_pickle([0x1950A86A20F9469CFC6C, 1002, {"little_endian": True}, Net.__name__, []], file)
    with pytest.raises(CheckpointError, match="another version of the format"):
        inert_pickle.read(file)
