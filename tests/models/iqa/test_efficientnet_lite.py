"""The trunk of the shipped metric."""

import pytest
import torch
from known_photographs import pixels, tensor

from models.iqa.efficientnet_lite import PUBLISHED, TAP_CHANNELS, EfficientNetLite0
from training import imagenet

CATS = range(281, 286)
ESPRESSO, MISSILE = 967, 657


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 96)])
def test_every_resolution_gives_features(height, width):
    taken = EfficientNetLite0()(torch.rand(2, 3, height, width))
    assert [tap.shape[1] for tap in taken] == list(TAP_CHANNELS)
    for level, tap in enumerate(taken, 1):
        assert tuple(tap.shape[2:]) == (-(-height // 2**level), -(-width // 2**level))


def test_it_has_no_normalization_layers():
    assert not any("Norm" in type(module).__name__ for module in EfficientNetLite0().modules())


@pytest.mark.parametrize(("name", "classes"), [("chelsea", CATS), ("coffee", [ESPRESSO]), ("rocket", [MISSILE])])
def test_the_folded_imagenet_weights_still_know_what_is_in_a_photograph(name, classes):
    state = torch.load(imagenet._file(), weights_only=True)
    head = imagenet._fold(state, "_conv_head", "_bn1", "head")
    photo = torch.nn.functional.interpolate(tensor(pixels(name, 300)), size=(224, 224), mode="bicubic", antialias=True)
    with torch.no_grad():
        trunk = imagenet.trunk(PUBLISHED)
        deepest = torch.nn.functional.relu6(trunk.stem(photo.clamp(0, 1) * 2 - 1))
        for stage in trunk.stages:
            deepest = stage(deepest)
        wide = torch.nn.functional.relu6(torch.nn.functional.conv2d(deepest, head["head.weight"], head["head.bias"]))
        logits = wide.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) in classes
