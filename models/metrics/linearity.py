"""The `linearity` of the paper, and `linearity-native`, which does not resize."""

from collections.abc import Iterable
from typing import Self

from models.checkpoints import Published
from models.iqa import linearity
from models.iqa.trained import Preset, TrainedMetric
from models.iqa.weights import MetricWeights

_FILES = tuple(
    Published(
        name="linearity",
        file=file,
        url="https://drive.google.com/drive/folders/1H79ptqjcR4NH6HP4wLsEmqwhNqNNqXwh",
        license="not stated (the code's README says MIT)",
    )
    for file in ("p1q2.pth", "p1q2plus0.1variant.pth")
)
_WEIGHTS = MetricWeights(
    name="linearity",
    published=_FILES,
    read=linearity.read,
    build=linearity.build,
    trial=linearity.native,
    plausible=(-20, 120),
)
_PRESETS = (
    Preset(
        "",
        "official: resized to 664x498 whatever its proportions (bilinear, antialiased), ImageNet mean and deviation",
        linearity.official,
    ),
    Preset(
        "-native",
        "native: its own size, ImageNet mean and deviation",
        linearity.native,
        min_side=32,
        max_pixels=2**22,
    ),
)
PUBLISHED = (_WEIGHTS.entry,)


class Linearity(TrainedMetric):
    """Linearity with its published weights, trained on KonIQ-10k."""

    @classmethod
    def family(cls) -> Iterable[Self]:
        """Yield one metric per preset."""
        for preset in _PRESETS:
            yield cls(
                _WEIGHTS,
                preset,
                "linearity",
                summary="Linearity: ResNeXt-101 trained with the norm-in-norm loss on KonIQ-10k",
                range=(0, 100),
                range_is_exact=False,
                source="Li, Jiang, Jiang, ACM MM 2020, arXiv 2008.03889",
            )
