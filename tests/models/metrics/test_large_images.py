"""The largest image that the service takes by default, in a process of its own, for memory is measured by its peak."""

import subprocess
import sys

import pytest

PROGRAM = """
import pathlib, re, torch
from models.metrics import find_metric

def peak():  # ru_maxrss begins with what the process that started this one had
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

torch.set_num_threads(1)  # two that wait for each other take minutes where another program has a core
metric = find_metric("NAME")
metric(torch.rand(1, 3, 96, 96))
images = torch.empty(1, 3, 8000, 5000).uniform_(generator=torch.Generator().manual_seed(0))
before = peak()
score = metric(images)
assert torch.isfinite(score).all()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", ["niqe", "brisque", "piqe"])
def test_40_megapixels_take_less_than_a_gigabyte_beside_the_image(name):
    program = PROGRAM.replace("NAME", name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 1000
