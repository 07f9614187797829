"""The trunk of EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946; the Lite variant of TensorFlow's TPU repository).

Convolutions and ReLU6 only: no squeeze-and-excitation and, once trained, no normalization, for batch normalization is
folded into the convolutions. So an image's score cannot depend on the batch that it is in. Its last two stages, which
tell what an image shows, are left out: training for quality had killed them (docs/models/fr-surrogate-history.md).
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from models.fused import activated


class Stage(NamedTuple):
    """A run of blocks at one resolution."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
PUBLISHED = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STAGES = PUBLISHED[:5]
TAPS = (0, 1, 2, 4)
"""The stages whose outputs are features: the last of each resolution, at 1/2, 1/4, 1/8 and 1/16 of the image."""

TAP_CHANNELS = tuple(STAGES[tap].channels for tap in TAPS)


class Block(nn.Module):
    """A mobile inverted bottleneck: widen, filter each channel, narrow; the input is added where shapes agree."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if stage.expansion > 1 else nn.Identity()
        self.depthwise = nn.Conv2d(wide, wide, stage.kernel, stride, stage.kernel // 2, groups=wide)
        self.project = nn.Conv2d(wide, stage.channels, 1)
        self.widens = stage.expansion > 1
        self.adds = stride == 1 and inputs == stage.channels

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, channels, H / stride, W / stride)."""
        wide = activated(self.expand, features, "relu6") if self.widens else features
        narrow = activated(self.project, activated(self.depthwise, wide, "relu6"), "none")
        return features + narrow if self.adds else narrow


class EfficientNetLite0(nn.Module):
    """0.69 M parameters; gives the features of every resolution."""

    def __init__(self, stages: Sequence[Stage] = STAGES) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, 2, 1)
        channels, made = STEM, []
        for stage in stages:
            blocks = []
            for index in range(stage.blocks):
                blocks.append(Block(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
            made.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(made)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """Map RGB in [0, 1], (N, 3, H, W), to features (N, TAP_CHANNELS[i], H / 2^(i+1), W / 2^(i+1))."""
        features = activated(self.stem, images * 2 - 1, "relu6")
        taken = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in TAPS:
                taken.append(features)
        return taken
