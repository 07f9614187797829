"""Named choices of attacks, defenses and picture size, and the groups in which attacks are reported."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from models import notation
from models.attacks import ATTACKS


class Preset(BaseModel):
    """What is done where the command names nothing else."""

    model_config = ConfigDict(frozen=True)

    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    size: tuple[int, int] | None
    """(width, height)."""
    images: int | None = None
    """At most so many; None: all."""


def _middle(name: str, **also: float) -> str:
    """Return an attack at the middle strength of Guardians of Image Quality, 4 levels for most."""
    if name not in ATTACKS:
        return name
    values = {parameter: values[min(1, len(values) - 1)] for parameter, values in ATTACKS[name].presets.items()}
    return notation.write(ATTACKS[name].model_validate({"name": name, **values, **also}))


GRADIENT_ATTACKS = ("ifgsm", "mifgsm", "amifgsm")
ZHANG_ATTACKS = ("zhang-ssim", "zhang-lpips", "zhang-dists")

PRESETS: Mapping[str, Preset] = {
    "quick": Preset(
        attacks=("ifgsm", "korhonen", "square(queries=100)"),
        defenses=("none", "jpeg", "gaussian-blur", "median-blur", "resize", "flip"),
        size=(192, 192),
        images=4,
    ),
    # The ten attacks and sixteen purifiers of arXiv 2404.06957, each as its code has them (299 pixels, as NIPS 2017)
    # but the diffpures, which are ours (a small denoiser, one-shot, at the image's own size), and the weights of fcn.
    "paper": Preset(
        attacks=("adv-cf", *ZHANG_ATTACKS, "amifgsm", "ifgsm", "mifgsm", "korhonen", "madc", "ssah"),
        defenses=(
            "none",
            "flip",
            "random-crop",
            "rotate(interpolation=nearest, border=zeros)",
            "median-blur",
            "gaussian-blur",
            "resize(antialias=false)",
            *(f"upscale(mode={mode}, antialias=false)" for mode in ("nearest", "bilinear", "bicubic")),
            "jpeg(channel_order=bgr)",
            "fcn",
            "real-esrgan",
            "mprnet",
            "diffpure",
            "diffpure-unsharp",
            "diffpure-edges",
        ),
        size=(299, 299),
    ),
    # The attacks of arXiv 2408.01541 at its middle strength, black-box ones with fewer than its 10,000 queries; its
    # purifiers as its code has them, but for the same two.
    "guardians": Preset(
        attacks=(
            *(_middle(name) for name in ("ifgsm", "korhonen", "madc", "ssah", "zhang-dists")),
            "stadv",
            *(_middle(name, queries=1000) for name in ("nes", "square", "parsimonious", "onepixel")),
            *("uap", "cadv", "cnn-attack", "patch-rs"),
        ),
        defenses=(
            "none",
            "flip",
            "rotate(limit=15, interpolation=nearest, border=zeros)",
            "random-crop(size=128)",
            "median-blur",
            "gaussian-blur",
            "resize(antialias=false)",
            "upscale(antialias=false)",
            "jpeg",
            "diffjpeg",
            "color-quantization",
            "unsharp",
            "random-noise",
            "fcn",
            "real-esrgan(outscale=4)",
            "mprnet",
            "diffpure(timestep=5)",
            "disco",
        ),
        size=(512, 384),
    ),
}  # fmt: skip

GROUPS: Mapping[str, tuple[str, ...]] = {
    "iterated fgsm": GRADIENT_ATTACKS,
    "zhang": ZHANG_ATTACKS,
    "black-box": ("square", "nes", "parsimonious", "onepixel"),
}
"""The groups of arXiv 2404.06957, and one of ours; any other attack, such as `fgsm`, is a group of its own."""


def group_of(name: str) -> str:
    """Return the group that the attack of this name is reported in."""
    return next((group for group, names in GROUPS.items() if name in names), name)
