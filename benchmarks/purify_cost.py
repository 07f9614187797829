"""What diffusion purification costs: the sections speed, tiles and memory of `python -m benchmarks.purify`."""

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.tables import header, row
from models.defenses import make_defense
from models.diffusion.denoisers import DENOISERS
from models.diffusion.precision import PRECISION
from models.diffusion.schedule import sigma_of
from models.diffusion.shipped_denoiser import ShippedDenoiser
from models.diffusion.tiling import Tiled
from models.fused import computes_in_bfloat16
from models.noise import Noise

SHIPPED_DENOISERS = {name: one for name, one in DENOISERS.items() if isinstance(one, ShippedDenoiser)}


def speed(_: list[Tensor]) -> None:
    from benchmarks.peers import adm_256, small_unet

    square, wide = torch.rand(1, 3, 256, 256), torch.rand(1, 3, 384, 512)
    unet = small_unet()
    precisions = ["float32"] + ["bfloat16"] * computes_in_bfloat16()
    tasks: dict[tuple[str, str], Callable[[], object]] = {}
    for precision in precisions:
        for name, denoiser in SHIPPED_DENOISERS.items():
            defense = make_defense({"name": "diffpure", "denoiser": name})
            mean = functools.partial(denoiser.mean, square, torch.tensor([sigma_of(30)]))
            tasks[f"`{name}`, 256x256", precision] = functools.partial(_in, precision, mean)
            whole = functools.partial(defense, wide, 1)
            tasks[f"diffpure with `{name}`, 512x384", precision] = functools.partial(_in, precision, whole)
    small, big = "a small UNet of diffusers, 256x256", "one evaluation of ADM-256 (random weights), 256x256"
    times = interleaved({**tasks, (small, "float32"): lambda: unet(square)}, rounds=5)
    adm = adm_256()
    times |= interleaved({(big, "float32"): lambda: adm(square)}, rounds=1)
    if len(precisions) == 1:
        print("This processor does not multiply bfloat16, so only float32 was measured.\n", file=sys.stderr)
    units = ("CPU ms", "the small UNet takes", "ADM-256 takes")
    header("one thread", *(f"{precision}: {unit}" for precision in precisions for unit in units))
    for label in dict.fromkeys(label for label, _ in times):
        cells: list[object] = []
        for precision in precisions:
            seconds = times.get((label, precision))
            peers = (times[small, "float32"], times[big, "float32"])
            cells += [seconds * 1000, *(peer / seconds for peer in peers)] if seconds else ["-"] * len(units)
        row(label, *cells)


def _in(precision: str, task: Callable[[], object]) -> object:
    os.environ[PRECISION] = precision
    return task()


def interleaved(tasks: dict[tuple[str, str], Callable[[], object]], rounds: int) -> dict[tuple[str, str], float]:
    """Return the least CPU seconds of each task; they take turns, so that a busy machine is busy for all of them."""
    best = dict.fromkeys(tasks, float("inf"))
    for turn in range(rounds + 1):
        for label, task in tasks.items():
            begun = time.process_time()
            task()
            if turn:
                best[label] = min(best[label], time.process_time() - begun)
    return best


def tiles(photos: list[Tensor]) -> None:
    header("denoiser", "tile", "largest difference from the whole image")
    for name, denoiser in SHIPPED_DENOISERS.items():
        noisy, sigma = photos[0] + 0.05 * Noise([1]).normal_like(photos[0]), torch.tensor([0.05])
        whole = Tiled(denoiser, 4096).mean(noisy, sigma)
        for tile in (32, 96, 248):
            difference = (Tiled(denoiser, tile).mean(noisy, sigma) - whole).abs().max()
            row(f"`{name}`", tile, f"{float(difference):.1e}")


MEASURE = """
import re, sys, time
import numpy, torch
from pathlib import Path
from models.defenses import make_defense
def status(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
torch.set_num_threads(1)
torch.set_grad_enabled(False)
defense = make_defense({"name": sys.argv[2], "timestep": int(sys.argv[3]), "denoiser": sys.argv[4]})
defense(torch.rand(1, 3, 64, 64), 1)
warm = status("VmRSS")
image = torch.from_numpy(numpy.load(sys.argv[1])).float().div_(255)
begun = time.process_time()
result = defense(image, 1)
seconds, peak = time.process_time() - begun, status("VmHWM")
difference = sum(float((a - b).square().mean()) for a, b in zip(result[0].split(1), image[0].split(1))) / 3
print(warm, peak, seconds, -10 * numpy.log10(difference))
"""
# VmHWM and not getrusage: the latter starts at what the parent process took


def memory(photos: list[Tensor]) -> None:
    header("defense", "image", "warm, MiB", "most, MiB", "more than warm, bytes per pixel", "CPU s", "PSNR")
    orders = [
        ("diffpure", 30, "ffdnet"),
        ("diffpure", 30, "ffdnet-pyramid"),
        ("diffpure-unsharp", 10, "ffdnet-pyramid"),
        ("diffpure-random-phase", 20, "ffdnet"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.npy"
        for height, width in ((3000, 4000), (5000, 8000)):
            np.save(file, mosaic(photos, height, width))
            for order in orders:
                command = [sys.executable, "-c", MEASURE, str(file), *(str(part) for part in order)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                warm, peak, seconds, quality = (float(word) for word in done.stdout.split())
                label = f"{order[0]}, timestep {order[1]}, `{order[2]}`"
                more = (peak - warm) * 2**20 / height / width
                row(label, f"{width}x{height}", warm, peak, more, seconds, quality)


def mosaic(photos: list[Tensor], height: int, width: int) -> NDArray[np.uint8]:
    """Return the photographs side by side, again and again, uint8 (1, 3, height, width)."""
    tiles = [photo.mul(255).round().to(torch.uint8).numpy() for photo in photos]
    side = max(max(tile.shape[2:]) for tile in tiles)
    picture = np.zeros((1, 3, height, width), np.uint8)
    places = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    for index, (top, left) in enumerate(places):
        place = picture[:, :, top : top + side, left : left + side]
        tile = tiles[index % len(tiles)]
        place[:] = np.pad(tile, [(0, 0), (0, 0), *((0, side - length) for length in tile.shape[2:])], mode="symmetric")[
            :, :, : place.shape[2], : place.shape[3]
        ]
    return picture
