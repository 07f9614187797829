"""MPRNet: two U-Nets that see the image in pieces, and a third network at full resolution that sees all of it.

Zamir et al., Multi-Stage Progressive Image Restoration (CVPR 2021, arXiv 2102.02808). Modules bear the names
that the published weights use. Only the last of the three restored images is computed.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

MARK = "stage3_orsnet.orb1.body.0.body.0.weight"
"""A tensor that tells these weights from others."""

Pyramid = list[Tensor]
"""Features at full, half and quarter resolution."""


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    """Return a convolution without a bias that keeps the size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)


class CAL(nn.Module):
    """Channel attention: every channel is weighed by what the means of all channels say."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        few = channels // reduction
        self.conv_du = nn.Sequential(conv(channels, few, 1), nn.ReLU(), conv(few, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * cast("Tensor", self.conv_du(x.mean((2, 3), keepdim=True)))


class CAB(nn.Module):
    """A residual block with channel attention."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.CA = CAL(channels, reduction)
        self.body = nn.Sequential(conv(channels, channels), nn.PReLU(), conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast("Tensor", self.CA(self.body(x)))


class Up(nn.Module):
    """Twice the size, fewer channels; a `skip` is added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), conv(inputs, outputs, 1))

    def forward(self, x: Tensor, skip: Tensor | float = 0.0) -> Tensor:
        return cast("Tensor", self.up(x)) + skip


class Down(nn.Module):
    """Half the size, more channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Upsample(scale_factor=0.5, mode="bilinear"), conv(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.down(x))


class Encoder(nn.Module):
    """The way down a U-Net; with `fuse`, the features of the stage before are added (CSFF)."""

    def __init__(self, widths: list[int], reduction: int, *, fuse: bool) -> None:
        super().__init__()
        for level, width in enumerate(widths, 1):
            blocks = nn.Sequential(*(CAB(width, reduction) for _ in range(2)))
            self.add_module(f"encoder_level{level}", blocks)
            if fuse:
                self.add_module(f"csff_enc{level}", conv(width, width, 1))
                self.add_module(f"csff_dec{level}", conv(width, width, 1))
        self.down12, self.down23 = Down(*widths[:2]), Down(*widths[1:])

    def forward(self, x: Tensor, before: tuple[Pyramid, Pyramid] | None = None) -> Pyramid:
        levels: Pyramid = []
        for level, down in enumerate((nn.Identity(), self.down12, self.down23), 1):
            x = self.get_submodule(f"encoder_level{level}")(down(x))
            for name, features in zip(("csff_enc", "csff_dec"), before or (), strict=False):
                x = x + self.get_submodule(f"{name}{level}")(features[level - 1])
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """The way up a U-Net."""

    def __init__(self, widths: list[int], reduction: int) -> None:
        super().__init__()
        for level, width in enumerate(widths, 1):
            self.add_module(f"decoder_level{level}", nn.Sequential(*(CAB(width, reduction) for _ in range(2))))
        self.skip_attn1, self.skip_attn2 = CAB(widths[0], reduction), CAB(widths[1], reduction)
        self.up21, self.up32 = Up(widths[1], widths[0]), Up(widths[2], widths[1])

    def forward(self, encoded: Pyramid) -> Pyramid:
        third = self.get_submodule("decoder_level3")(encoded[2])
        second = self.get_submodule("decoder_level2")(self.up32(third, self.skip_attn2(encoded[1])))
        first = self.get_submodule("decoder_level1")(self.up21(second, self.skip_attn1(encoded[0])))
        return [first, second, third]


class SAM(nn.Module):
    """Supervised attention: a restored image decides which features go on to the next stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(channels, channels, 1), conv(channels, 3, 1), conv(3, channels, 1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        restored = self.conv2(x) + image
        return x + cast("Tensor", self.conv1(x) * torch.sigmoid(self.conv3(restored)))


class ORB(nn.Module):
    """A residual chain of CABs."""

    def __init__(self, channels: int, reduction: int, count: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(CAB(channels, reduction) for _ in range(count)), conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast("Tensor", self.body(x))


class ORSNet(nn.Module):
    """The third stage: at full resolution throughout, fed with the second's features."""

    def __init__(self, widths: list[int], extra: int, reduction: int, count: int) -> None:
        super().__init__()
        width = widths[0] + extra
        for level in (1, 2, 3):
            self.add_module(f"orb{level}", ORB(width, reduction, count))
            self.add_module(f"conv_enc{level}", conv(widths[0], width, 1))
            self.add_module(f"conv_dec{level}", conv(widths[0], width, 1))
        for part in ("enc", "dec"):
            self.add_module(f"up_{part}1", Up(widths[1], widths[0]))
            self.add_module(f"up_{part}2", nn.Sequential(Up(widths[2], widths[1]), Up(widths[1], widths[0])))

    def forward(self, x: Tensor, encoded: Pyramid, decoded: Pyramid) -> Tensor:
        for level in (1, 2, 3):
            x = self.get_submodule(f"orb{level}")(x)
            for part, features in (("enc", encoded[level - 1]), ("dec", decoded[level - 1])):
                full = self.get_submodule(f"up_{part}{level - 1}")(features) if level > 1 else features
                x = x + self.get_submodule(f"conv_{part}{level}")(full)
        return x


class MPRNet(nn.Module):
    """The three stages, from and to RGB (N, 3, H, W) in [0, 1]; H and W are multiples of 8.

    The denoising network has widths 80, 128, 176, `extra` 32, `reduction` 4 and `count` 8.
    """

    def __init__(self, widths: list[int], extra: int, reduction: int, count: int) -> None:
        super().__init__()
        width = widths[0]
        for stage in (1, 2, 3):
            self.add_module(f"shallow_feat{stage}", nn.Sequential(conv(3, width), CAB(width, reduction)))
        self.stage1_encoder = Encoder(widths, reduction, fuse=False)
        self.stage2_encoder = Encoder(widths, reduction, fuse=True)
        self.stage1_decoder, self.stage2_decoder = Decoder(widths, reduction), Decoder(widths, reduction)
        self.stage3_orsnet = ORSNet(widths, extra, reduction, count)
        self.sam12, self.sam23 = SAM(width), SAM(width)
        self.concat12, self.concat23 = conv(2 * width, width), conv(2 * width, width + extra)
        self.tail = conv(width + extra, 3)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2] // 2, image.shape[3] // 2
        halves = [image[:, :, :height], image[:, :, height:]]
        joined = []
        for half in halves:  # the first stage sees quarters, the second halves, the third the whole
            quarters = [self._shallow(1, part) for part in (half[..., :width], half[..., width:])]
            encoded = _beside([self.stage1_encoder(quarter) for quarter in quarters], 3)
            # the decoder too sees a half: its channel attention averages over that
            decoded = self.stage1_decoder(encoded)
            features = torch.cat([self._shallow(2, half), self.sam12(decoded[0], half)], 1)
            joined.append(self.stage2_encoder(self.concat12(features), (encoded, decoded)))
        encoded = _beside(joined, 2)
        decoded = self.stage2_decoder(encoded)
        features = torch.cat([self._shallow(3, image), self.sam23(decoded[0], image)], 1)
        features = self.stage3_orsnet(self.concat23(features), encoded, decoded)
        return cast("Tensor", self.tail(features)) + image

    def _shallow(self, stage: int, image: Tensor) -> Tensor:
        return cast("Tensor", self.get_submodule(f"shallow_feat{stage}")(image))


def _beside(parts: list[Pyramid], dim: int) -> Pyramid:
    return [torch.cat(list(level), dim) for level in zip(*parts, strict=True)]


def shaped_like(state: Mapping[str, Tensor]) -> MPRNet:
    """Return an MPRNet of the sizes that these weights have, with weights of its own. Raises KeyError."""
    widths = [state[f"stage1_encoder.encoder_level{level}.0.body.0.weight"].shape[0] for level in (1, 2, 3)]
    reduction = widths[0] // state["shallow_feat1.1.CA.conv_du.0.weight"].shape[0]
    blocks = {name.split(".")[3] for name in state if name.startswith("stage3_orsnet.orb1.body.")}
    return MPRNet(widths, state["tail.weight"].shape[1] - widths[0], reduction, len(blocks) - 1)
