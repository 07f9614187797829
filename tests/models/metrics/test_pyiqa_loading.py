import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def run(*arguments, **variables):
    """Run Python in the repository's root, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What metrics with random weights answered in a fresh process; see pyiqa_loading.py."""
    folder = tmp_path_factory.mktemp("weights")
    folders = {"TORCH_HOME": str(folder / "torch"), "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}
    done = run(Path(__file__).with_name("pyiqa_loading.py"), **folders)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "pyiqa's prints reached standard output"
    yield json.loads(done.stdout)
    shutil.rmtree(folder)  # half a gigabyte


@pytest.mark.parametrize("name", ["cnniqa", "musiq", "metaiqa", "topiq_nr", "arniqa"])
def test_weights_are_loaded_and_gradients_reach_the_image(name, answers):
    answer = answers[name]
    assert (answer["dtype"], answer["shape"]) == ("torch.float32", [2])
    assert answer["gradient"] > 0
    assert answer["finite"]
    assert answer["keeps_graph"] is False
    assert answer["without_gradient"] < 1e-6
    assert answer["alone"] < 1e-5


def test_only_the_image_gets_a_gradient_and_nothing_trains(answers):
    assert (answers["trainable"], answers["training"]) == (0, 0)


@pytest.mark.parametrize(
    ("case", "file"),
    [
        ("damaged", "musiq_spaq_ckpt-358bb6af.pth"),
        ("incomplete", "Metaiqa_livec.pth"),
        ("code", "CNNIQA_koniq10k-e6f14c91.pth"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_where_to_get_it(case, file, answers):
    assert answers[case].startswith("pyiqa:")
    assert "could not be loaded" in answers[case]
    assert f"save https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/{file} as /" in answers[case]


def test_a_network_with_a_random_head_is_never_used(answers):
    assert "lacks 2 of the network's parameters" in answers["incomplete"]


def test_a_file_that_vanishes_is_not_downloaded_again(tmp_path):
    """availability() is passed by, as a file deleted between the check and the load would."""
    code = (
        "import torch, models.metric\nfrom models.metrics import find_metric\n"
        "metric = find_metric('pyiqa:topiq_nr')\n"
        "type(metric).availability = lambda self: models.metric.Availability(available=True)\n"
        "metric(torch.rand(1, 3, 64, 64))"
    )
    last = run("-c", code, TORCH_HOME=str(tmp_path), HF_HOME=str(tmp_path)).stderr.splitlines()[-1]
    assert "MetricUnavailableError: pyiqa:topiq_nr cannot be used here" in last
    assert "cfanet_nr_koniq_res50-9a73138b.pth" in last
    assert "hf download timm/resnet50.a1_in1k" in last
