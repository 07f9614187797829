"""What diffusion purification is worth and what it costs, side by side in one run.

`python -m benchmarks.purify --photos DIR` prints the sections that are named (all by default):

    denoising    PSNR of every shipped denoiser on center crops with Gaussian noise, beside its parameters and FLOPs
    precision    what bfloat16 costs the shipped denoisers, at every noise level
    int8         what 8 bits would cost them
    similarity   SSIM + PSNR / 40 of purified clean photos, at their own size and squeezed to 256x256 as peers do
    samplers     PSNR and CPU time of one-shot and of ancestral sampling from the same noise
    texture      PSNR and high-frequency energy from the posterior mean to a sample
    auto         the timesteps that `auto` chooses for clean, noisy and blurred photos
    margin       PSNR of clean and disturbed photos when the denoiser is told of more than the added noise
    edges        what blending edges back gains on clean photos, and how much of a perturbation it lets through
    speed        CPU time of one thread in float32 and bfloat16, beside a small UNet of diffusers and one evaluation of
                 ADM-256 (random weights)
    tiles        the largest difference between tiles and the whole image
    memory       the most memory that purifying 12 and 40 megapixels of photographs takes
"""

import argparse
import datetime
import functools
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.purify_cost import SHIPPED_DENOISERS, memory, speed, tiles
from benchmarks.purify_int8 import rounded
from benchmarks.tables import header, row, show
from models.defenses import make_defense
from models.diffusion.bfloat16 import in_bfloat16
from models.diffusion.denoisers import DENOISERS
from models.diffusion.network import Network
from models.diffusion.shipped_denoiser import SHIPPED
from models.diffusion.tiling import Tiled
from models.evaluation.fidelity import compare
from models.images import ImageLimits, decode
from models.noise import Noise, derive_seed
from training.photos import photographs

LEVELS = (5.0, 13.8, 15.0, 25.0, 50.0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help="all by default")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs, none of them trained on")
    parser.add_argument("--side", type=int, default=512, help="side of the center crops")
    parser.add_argument("--count", type=int, help="at most so many photographs")
    parser.add_argument("--quick", action="store_true", help="one crop of 128x128; by default without speed and memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.quick:
        options.side, options.count = 128, 1
    torch.set_num_threads(1)
    photos = [center(photo, options.side) for photo in read(options.photos, options.count)]
    about = {
        "date": str(datetime.date.today()),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "photographs": len(photos),
        "side": options.side,
    }
    names = options.sections or [name for name in SECTIONS if not (options.quick and name in SLOW)]
    with torch.no_grad():
        show(about, {name: functools.partial(SECTIONS[name], photos) for name in names}, as_json=options.json)


def read(folder: Path, count: int | None) -> list[Tensor]:
    return [decode(file.read_bytes(), ImageLimits())[0] for file in photographs(folder)[:count]]


def center(photo: Tensor, side: int) -> Tensor:
    top, left = (max(0, (length - side) // 2) for length in photo.shape[2:])
    return photo[:, :, top : top + side, left : left + side]


def psnr(image: Tensor, clean: Tensor) -> float:
    return float(-10 * torch.log10((image.clamp(0, 1) - clean).square().mean()))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def gflop(network: Network) -> float:
    """Return what the network takes for 256x256; with a gradient, for without one layers do more than is counted."""
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 256, 256, requires_grad=True), torch.tensor([0.1]))
    return float(counter.get_total_flops()) / 1e9


def shipped() -> dict[str, Network]:
    return {name: one.network.read(SHIPPED / name) for name, one in SHIPPED_DENOISERS.items()}


def denoising(photos: list[Tensor]) -> None:
    header("denoiser", "parameters", "GFLOP per 256x256", *(f"sigma {level:g}/255" for level in LEVELS))
    for name, network in shipped().items():
        work = gflop(network)
        size = sum(parameter.numel() for parameter in network.parameters())
        denoiser = Tiled(DENOISERS[name])
        means = []
        for level in LEVELS:
            noisy = [photo + level / 255 * Noise([i]).normal_like(photo) for i, photo in enumerate(photos)]
            sigma = torch.tensor([level / 255])
            means.append(mean([psnr(denoiser.mean(x, sigma), photo) for x, photo in zip(noisy, photos, strict=True)]))
        row(f"`{name}`", f"{size / 1e6:.2f} M", work, *means)


def in_eights(photos: list[Tensor]) -> list[Tensor]:
    """Return the photos without the last rows and columns, so that every network takes them as they are."""
    return [photo[:, :, : photo.shape[2] // 8 * 8, : photo.shape[3] // 8 * 8] for photo in photos]


def precision(photos: list[Tensor]) -> None:
    photos = in_eights(photos)
    levels = (5.0, 10.0, 13.8, 25.0, 50.0)
    header("loss in bfloat16, dB: mean (at worst)", *(f"sigma {level:g}/255" for level in levels))
    for name, network in shipped().items():
        halved, cells = in_bfloat16(network), []
        for level in levels:
            sigma, losses = torch.tensor([level / 255]), []
            for index, photo in enumerate(photos):
                noisy = photo + sigma * Noise([index]).normal_like(photo)
                losses.append(psnr(network(noisy, sigma), photo) - psnr(halved(noisy, sigma), photo))
            cells.append(f"{mean(losses):.2f} ({max(losses):.2f})")
        row(f"`{name}`", *cells)


def int8(photos: list[Tensor]) -> None:
    photos = in_eights(photos)
    header("loss in 8 bits, dB: mean (at worst)", *(f"sigma {level:g}/255" for level in LEVELS))
    for name, network in shipped().items():
        noise = [Noise([index]).normal_like(photo) for index, photo in enumerate(photos)]
        images = {
            level: [(x + level / 255 * n, torch.tensor([level / 255])) for x, n in zip(photos, noise, strict=True)]
            for level in LEVELS
        }
        coarse, cells = rounded(network, [one for level in LEVELS for one in images[level]]), []
        for level in LEVELS:
            pairs = zip(images[level], photos, strict=True)
            losses = [psnr(network(*one), photo) - psnr(coarse(*one), photo) for one, photo in pairs]
            cells.append(f"{mean(losses):.2f} ({max(losses):.2f})")
        row(f"`{name}`", *cells)


def similarity(photos: list[Tensor]) -> None:
    header("timestep", "path", "PSNR", "SSIM", "SSIM + PSNR/40")
    for timestep in (5, 30):
        for squeeze in (0, 256):
            defense = make_defense({"name": "diffpure", "timestep": timestep, "squeeze": squeeze})
            found = [compare(photo, defense(photo, i)) for i, photo in enumerate(photos)]
            quality, structure = mean([one.psnr for one in found]), mean([one.ssim for one in found])
            path = "squeezed to 256x256" if squeeze else "own size"
            row(timestep, path, quality, structure, structure + quality / 40)


def samplers(photos: list[Tensor]) -> None:
    header("timestep", "sampler", "evaluations", "PSNR", "CPU s per photo")
    for timestep in (5, 30):
        for sampler, steps in (("one-shot", 0), ("ancestral", 5), ("ddim", 5), ("dpm-solver", 5)):
            defense = make_defense({"name": "diffpure", "timestep": timestep, "sampler": sampler, "steps": steps})
            begun = time.process_time()
            quality = mean([psnr(defense(photo, i), photo) for i, photo in enumerate(photos)])
            row(timestep, sampler, steps or 1, quality, (time.process_time() - begun) / len(photos))


def texture(photos: list[Tensor]) -> None:
    header("texture", "PSNR", "energy above half the highest frequency, of the photo's")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        defense = make_defense({"name": "diffpure", "sampler": "ancestral", "steps": 6, "texture": share})
        results = [(defense(photo, i), photo) for i, photo in enumerate(photos)]
        row(share, mean([psnr(*pair) for pair in results]), mean([fine(one) / fine(photo) for one, photo in results]))


def fine(image: Tensor) -> float:
    spectrum = torch.fft.rfft2(image.mean(dim=1)).abs().square()
    vertical, horizontal = torch.fft.fftfreq(image.shape[2]), torch.fft.rfftfreq(image.shape[3])
    return float(spectrum[:, torch.maximum(vertical.abs()[:, None], horizontal[None]) > 0.25].sum())


def auto(photos: list[Tensor]) -> None:
    from models.diffusion.adaptive import auto_timesteps

    denoiser = Tiled(DENOISERS["ffdnet"])
    header("photos", "least", "median", "most", "PSNR with auto", "PSNR with 10", "PSNR with 30")
    for label, disturb in DISTURBED.items():
        disturbed = [disturb(photo, i) for i, photo in enumerate(photos)]
        chosen = sorted(auto_timesteps(denoiser, image)[0] for image in disturbed)
        means = []
        for timestep in ("auto", 10, 30):
            defense = make_defense({"name": "diffpure", "timestep": timestep})
            results = [defense(image, i) for i, image in enumerate(disturbed)]
            means.append(mean([psnr(image, photo) for image, photo in zip(results, photos, strict=True)]))
        row(label, chosen[0], chosen[len(chosen) // 2], chosen[-1], *means)


def _signs(photo: Tensor, seed: int, strength: float) -> Tensor:
    own = Noise([derive_seed(seed, 1, "signs")])  # of the seed itself, they would be those of what a defense adds
    return (photo + strength / 255 * own.normal_like(photo).sign()).clamp(0, 1)


DISTURBED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "clean": lambda photo, _: photo,
    "random signs, 2/255": functools.partial(_signs, strength=2),
    "random signs, 4/255": functools.partial(_signs, strength=4),
    "random signs, 10/255": functools.partial(_signs, strength=10),
}


def margin(photos: list[Tensor]) -> None:
    header(
        "timestep",
        "margin",
        "PSNR of clean photos",
        *(f"of photos with signs of {k}/255" for k in (4, 8, 12)),
        "8 left",
    )
    settings = [(t, m) for t in (10, 30) for m in (0, 4, 8, 12)] + [(20, 0), (50, 0)]
    disturbed = {k: [_signs(photo, i, k) for i, photo in enumerate(photos)] for k in (4, 8, 12)}
    for timestep, width in settings:
        defense = make_defense({"name": "diffpure", "timestep": timestep, "margin": width / 255})
        clean = [defense(photo, i) for i, photo in enumerate(photos)]
        purified = {k: [defense(image, i) for i, image in enumerate(images)] for k, images in disturbed.items()}
        results = [clean, *purified.values()]
        quality = [mean([psnr(*pair) for pair in zip(result, photos, strict=True)]) for result in results]
        left = [share_left(*four) for four in zip(purified[8], clean, disturbed[8], photos, strict=True)]
        row(timestep, f"{width}/255", *quality, mean(left))


def share_left(after: Tensor, before: Tensor, image: Tensor, photo: Tensor) -> float:
    """Return how much of the disturbance image - photo is in after - before, what was made of the two."""
    return float(((after - before) * (image - photo)).sum() / (image - photo).square().sum())


def edges(photos: list[Tensor]) -> None:
    settings: dict[str, dict[str, object]] = {
        "diffpure": {"name": "diffpure"},
        "diffpure-unsharp": {"name": "diffpure-unsharp"},
        **{
            f"diffpure-edges, mask from {place}, strength {strength}": {
                "name": "diffpure-edges",
                "mask_from": place,
                "strength": strength,
            }
            for place in ("purified", "input")
            for strength in (0.25, 0.5, 1.0)
        },
    }
    header("defense", "PSNR of clean photos", "PSNR of photos with signs of 8/255", "share of the signs left")
    for label, parameters in settings.items():
        defense = make_defense(parameters)
        clean = [defense(photo, i) for i, photo in enumerate(photos)]
        cheated = [_signs(photo, i, 8) for i, photo in enumerate(photos)]
        purified = [defense(image, i) for i, image in enumerate(cheated)]
        left = [share_left(*four) for four in zip(purified, clean, cheated, photos, strict=True)]
        row(
            label,
            mean([psnr(*pair) for pair in zip(clean, photos, strict=True)]),
            mean([psnr(*pair) for pair in zip(purified, photos, strict=True)]),
            mean(left),
        )


SLOW = ("speed", "memory")
"""What takes minutes however small the crops are: ADM-256, and megapixels."""

SECTIONS: dict[str, Callable[[list[Tensor]], None]] = {
    "denoising": denoising,
    "precision": precision,
    "int8": int8,
    "similarity": similarity,
    "samplers": samplers,
    "texture": texture,
    "auto": auto,
    "margin": margin,
    "edges": edges,
    "speed": speed,
    "tiles": tiles,
    "memory": memory,
}

if __name__ == "__main__":
    main()
