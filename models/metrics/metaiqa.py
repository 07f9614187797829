"""The `metaiqa` of the paper, `metaiqa-native`, which does not resize, and `metaiqa-aliased`, of old scikit-image."""

from collections.abc import Iterable
from typing import Self

from models.checkpoints import Published
from models.iqa import metaiqa
from models.iqa.trained import Preset, TrainedMetric
from models.iqa.weights import MetricWeights

_FOLDER = "https://github.com/zhuhancheng/MetaIQA/raw/master/model_IQA"
_FILES = tuple(
    Published(
        name="metaiqa",
        file=file,
        url=f"{_FOLDER}/{file}",
        download=f"{_FOLDER}/{file}",
        license="not stated: all rights reserved",
        git_sha1=sha1,
    )
    for file, sha1 in (
        ("TID2013_KADID10K_IQA_Meta_resnet18.pt", "4d2ee23148de49396149b1733f968def9f1375cc"),
        ("TID2013_IQA_Meta_resnet18.pt", "8a6be99a47d14e57502b6846d7f549c00d2251d1"),
    )
)
_WEIGHTS = MetricWeights(
    name="metaiqa",
    published=_FILES,
    read=metaiqa.read,
    build=metaiqa.build,
    trial=metaiqa.official,
    plausible=(0.02, 0.98),
)
_PRESETS = (
    Preset(
        "",
        "official: resized to 224x224 whatever its proportions (bilinear, antialiased), ImageNet mean and deviation",
        metaiqa.official,
    ),
    Preset(
        "-native",
        "native: its own size, ImageNet mean and deviation",
        metaiqa.native,
        min_side=32,
        max_pixels=2**24,
    ),
    Preset(
        "-aliased",
        "aliased: resized to 224x224 whatever its proportions (bilinear, not antialiased), ImageNet mean and deviation",
        metaiqa.aliased,
    ),
)
PUBLISHED = (_WEIGHTS.entry,)


class MetaIQA(TrainedMetric):
    """MetaIQA with its published weights, the prior that was learned from synthetic distortions."""

    @classmethod
    def family(cls) -> Iterable[Self]:
        """Yield one metric per preset."""
        for preset in _PRESETS:
            yield cls(
                _WEIGHTS,
                preset,
                "metaiqa",
                summary="MetaIQA: meta-learned ResNet-18, the published prior without fine-tuning",
                range=(0, 1),
                range_is_exact=True,
                source="Zhu, Li, Wu, Dong, Shi, CVPR 2020, arXiv 2004.05508",
            )
