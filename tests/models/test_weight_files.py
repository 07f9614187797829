"""Weight files of others: whatever is in one, it is read, or refused by its name."""

import random
import zipfile
from pathlib import Path

import pytest
import torch

from models import inert_pickle
from models.checkpoints import CheckpointError
from models.restoration.networks import adopt
from models.weight_files import read_state


def refuses(read, file):
    try:
        read(file)
    except CheckpointError as error:
        return str(file) in str(error)
    return False


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch wonders at changed bytes
@pytest.mark.parametrize("read", [read_state, inert_pickle.read])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_whichever_bytes_are_changed_the_file_is_read_or_refused(tmp_path, read, legacy):
    file = tmp_path / "network.pt"
    torch.save({"state_dict": {"a": torch.ones(3), "b": [1.0]}}, file, _use_new_zipfile_serialization=not legacy)
    content, draw, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(draw.choice([1, 2, 4])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        file.write_bytes(changed)
        refused += refuses(read, file)
    assert refused > 150


@pytest.mark.parametrize("read", [read_state, inert_pickle.read])
def test_a_file_of_which_more_would_come_out_than_is_in_it_is_refused(tmp_path, read):
    file = tmp_path / "bomb.pt"
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    assert refuses(read, file)


def test_one_number_that_poses_as_billions_is_refused_as_a_restoration_network(tmp_path):
    file = tmp_path / "network.pth"
    torch.save({"conv.weight": torch.zeros(1).expand(10**11)}, file)
    with pytest.raises(CheckpointError, match="more than twice"):
        adopt("mine", file)


def test_a_compressed_pickle_that_is_damaged_is_refused(tmp_path):
    file = tmp_path / "network.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02}q\x00" + b"X\x01\x00\x00\x00aK\x01s" * 50 + b".")
        archive.writestr("x/data/0", b"")
    content = file.read_bytes()
    damaged = 0
    for place in range(40, 60):
        file.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        damaged += refuses(inert_pickle.read, file)
    assert damaged > 10


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file of Linux that cannot be read from its start")
def test_a_file_that_cannot_be_read_is_told():
    with pytest.raises(CheckpointError, match="/proc/self/mem cannot be read as weights"):
        read_state(Path("/proc/self/mem"))
