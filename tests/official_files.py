"""Files in exactly the structures in which the metrics' authors publish weights, with small backbones in them."""

import pickle  # noqa: TID251 - hostile files are made of it
from unittest.mock import patch

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from models.iqa import linearity, metaiqa, spaq


def small_backbones(monkeypatch):
    """One narrow block per stage instead of up to 23: heads, names and the widths between stages stay the official."""
    monkeypatch.setattr(linearity, "backbone", lambda: ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=8))
    monkeypatch.setattr(metaiqa, "backbone", lambda: ResNet(BasicBlock, [1, 1, 1, 1]))
    monkeypatch.setattr(
        spaq, "backbone", lambda outputs: ResNet(Bottleneck, [1, 1, 1, 1], num_classes=outputs, width_per_group=8)
    )


def trained(make, seed=0, train=True):
    """A network as training leaves one: batch norm with statistics, outputs that depend on the image."""
    torch.manual_seed(seed)
    network = make()
    if not train:
        return network
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif name.endswith("fc.weight") and len(tensor) < 10:  # of SPAQ: its scores run to 100
                tensor.mul_(300)
            elif name.endswith("fc.bias") and len(tensor) < 10:
                tensor.add_(40)
    return network.eval()


def linearity_file(path, k=(20.0, 21.0, 22.0), b=(50.0, 30.0, 10.0), seed=0, prefix="", legacy=False):
    """The checkpoint that LinearityIQA's training writes."""
    network = trained(linearity.Linearity, seed)
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    moments = {0: {"step": 9, "exp_avg": torch.zeros(4), "exp_avg_sq": torch.zeros(4)}}
    optimizer = {"state": moments, "param_groups": [{"lr": 1e-4, "params": [index]} for index in range(6)]}
    scaler = {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 3}}
    checkpoint = {"model": state, "optimizer": optimizer, "amp": scaler, "k": list(k), "b": list(b)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    return network


class Net(nn.Module):
    """The class by whose name MetaIQA's own code pickled the whole network."""

    def __init__(self, network):
        super().__init__()
        self.resnet_layer, self.net = network.resnet_layer, network.net


class BaselineModel1(nn.Module):
    """The same for its head: dropouts and a sigmoid are modules there."""

    def __init__(self, head):
        super().__init__()
        self.fc1, self.bn1, self.relu1, self.drop1 = head.fc1, head.bn1, head.relu1, nn.Dropout(0.5)
        self.fc2, self.bn2, self.relu2, self.drop2 = head.fc2, head.bn2, head.relu2, nn.Dropout(0.5)
        self.fc3, self.sig = head.fc3, nn.Sigmoid()


def metaiqa_file(path, seed=0, legacy=True, more=None):
    """A whole pickled network; `legacy`: as torch 0.4 wrote it, its parameters and CUDA's storages included."""
    network = trained(metaiqa.MetaIQA, seed)
    whole = Net(network)
    whole.net = BaselineModel1(network.net)
    if more is not None:
        whole.more = more

    def reduce(self, protocol):
        return nn.Parameter, (self.data, self.requires_grad)

    old = patch.object(nn.Parameter, "__reduce_ex__", reduce) if legacy else patch.object(nn, "Unused", 1, create=True)
    with (
        patch.object(Net, "__module__", "__main__"),
        patch.object(BaselineModel1, "__module__", "__main__"),
        patch.dict("sys.modules", {"__main__": __import__("official_files")}),
        old,
    ):
        torch.save(whole, path, _use_new_zipfile_serialization=not legacy)
    if legacy:
        data = path.read_bytes().replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
        path.write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    return network


def spaq_file(path, name="spaq-bl", seed=0, wrapped=True):
    """What SPAQ publishes."""
    network = trained(spaq.MAKERS[name], seed)
    torch.save({"state_dict": network.state_dict()} if wrapped else network.state_dict(), path)
    return network


class Command:
    """An object whose pickle runs a command of the shell wherever it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def bare_pickle(objects, path):
    """Objects pickled one after the other, without torch."""
    with path.open("wb") as stream:
        for one in objects:
            pickle.dump(one, stream, protocol=2)
    return path
