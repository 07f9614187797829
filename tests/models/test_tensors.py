"""What holds of every batch of images, wherever it is."""

import torch

from models import tensors


def test_whoever_loads_a_defense_a_metric_or_an_attack_has_float32_computed_as_float32_on_cuda_too():
    assert tensors
    assert not torch.backends.cudnn.allow_tf32
