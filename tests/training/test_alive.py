"""Whether every block of a trunk can learn."""

import torch
from known_photographs import pixels

from training import imagenet
from training.alive import alive

IMAGES = torch.from_numpy(pixels("coffee", 96).copy()).permute(2, 0, 1)[None].float() / 255


def test_every_block_of_the_imagenet_weights_is_alive():
    shares = alive(imagenet.trunk(), IMAGES)
    assert len(shares) == 10
    assert min(shares) > 0.1


def test_a_block_whose_values_are_all_cut_off_is_dead():
    trunk = imagenet.trunk()
    with torch.no_grad():
        trunk.stages[4][0].expand.bias.fill_(1e3)
        trunk.stages[4][2].expand.bias.fill_(-1e3)
    shares = alive(trunk, IMAGES)
    assert shares[7] == shares[9] == 0
    assert min(shares[:7]) > 0.1
