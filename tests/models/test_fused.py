import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.diffusion.ffdnet import FFDNet
from models.fused import activated

PLAIN = {"none": lambda hidden: hidden, "relu": F.relu, "relu6": F.relu6}
CONVOLUTIONS = {
    "3x3": nn.Conv2d(8, 12, 3, padding=1),
    "1x1": nn.Conv2d(8, 12, 1),
    "5x5 of each channel, every other place": nn.Conv2d(8, 8, 5, 2, 2, groups=8),
    "without a bias": nn.Conv2d(8, 12, 3, bias=False),
}


@pytest.mark.parametrize("activation", PLAIN)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_both_at_once_are_one_after_the_other(name, activation):
    conv = CONVOLUTIONS[name].requires_grad_(False)
    hidden = 8 * torch.randn((2, 8, 13, 17), generator=torch.Generator().manual_seed(1))
    expected = PLAIN[activation](conv(hidden))
    torch.testing.assert_close(activated(conv, hidden, activation), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("whose", ["image", "weights"])
def test_whoever_wants_a_gradient_gets_it(whose):
    conv = nn.Conv2d(3, 4, 3).requires_grad_(whose == "weights")
    image = torch.rand(1, 3, 9, 9, requires_grad=whose == "image")
    activated(conv, image).sum().backward()
    assert (image if whose == "image" else conv.weight).grad.abs().sum() > 0
    with torch.no_grad():
        assert not activated(conv, image).requires_grad


def test_a_network_is_exported_as_plain_convolutions():
    network = FFDNet(width=4, depth=3).requires_grad_(False)
    exported = torch.export.export(network, (torch.rand(1, 3, 8, 8), torch.tensor([0.1])))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert "aten.conv2d.default" in called
    assert not any("mkldnn" in name for name in called)
