"""SPAQ's four metrics, `spaq-bl` (the paper's `spaq`), `-mt-e`, `-mt-a` and `-mt-s`, each also without resizing."""

from collections.abc import Iterable
from typing import Self

from models.checkpoints import Published
from models.iqa import spaq
from models.iqa.trained import Preset, TrainedMetric
from models.iqa.weights import MetricWeights

_DRIVE = "https://drive.google.com/file/d/{}/view"
_FILES = {
    "spaq-bl": ("BL_release.pt", "1pXjXAIItViTFs7qUBY-b11WY50mzoVM2", "baseline"),
    "spaq-mt-e": ("MT-E_release.pt", "1eEMH2wTz2bFDkpgTFpSmzdoJRTnOparJ", "with camera settings, here none: zeros"),
    "spaq-mt-a": ("MT-A_release.pt", "1j0GmSgfzkB0gYu4zLVXCrlv3b3J20eOv", "trained with image attributes"),
    "spaq-mt-s": ("MT-S_release.pt", "16m_N1neg6aDST1OqwrQRxNd-Z70_SU4o", "trained with scene categories"),
}
_WEIGHTS = {
    name: MetricWeights(
        name=name,
        published=(
            Published(
                name=name,
                file=file,
                url=_DRIVE.format(identifier),
                license="not stated (the code: educational and research purposes only)",
            ),
        ),
        read=spaq.reader(name),
        build=spaq.builder(name),
        trial=spaq.native,
        plausible=(2, 120),
    )
    for name, (file, identifier, _) in _FILES.items()
}
_PATCHES = f"mean over patches of {spaq.PATCH}x{spaq.PATCH} every {spaq.STRIDE} pixels, at most {spaq.MAX_PATCHES}"
_PRESETS = (
    Preset(
        "",
        f"official: short side made {spaq.SHORT_SIDE} if longer, {spaq.PATCH} if shorter than that (bilinear,"
        f" antialiased); {_PATCHES}",
        spaq.official,
        max_aspect=100,
    ),
    Preset("-native", f"native: its own size; {_PATCHES}", spaq.native, min_side=spaq.PATCH),
)
PUBLISHED = tuple(weights.entry for weights in _WEIGHTS.values())


class SPAQ(TrainedMetric):
    """SPAQ's networks with their published weights, trained on its smartphone photographs."""

    @classmethod
    def family(cls) -> Iterable[Self]:
        """Yield one metric per network and preset."""
        for name, weights in _WEIGHTS.items():
            for preset in _PRESETS:
                yield cls(
                    weights,
                    preset,
                    name,
                    summary=f"SPAQ {name.removeprefix('spaq-').upper()}: ResNet-50 on patches, {_FILES[name][2]}",
                    range=(0, 100),
                    range_is_exact=False,
                    source="Fang, Zhu, Zeng, Ma, Wang, CVPR 2020",
                    aliases=(f"spaq{preset.suffix}",) if name == "spaq-bl" else (),
                )
