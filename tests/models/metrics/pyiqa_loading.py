"""Run by test_pyiqa_loading.py in a process of its own, for pyiqa fixes its folder when it is imported.

Write files with random weights, in the structure that pyiqa expects, score with them, and print what came out.
"""

import json
import os
import warnings
from pathlib import Path

import safetensors.torch
import timm
import torch
import torchvision
from pyiqa.archs.cnniqa_arch import CNNIQA
from pyiqa.archs.metaiqa_arch import MetaIQA
from pyiqa.archs.musiq_arch import MUSIQ
from pyiqa.archs.topiq_arch import CFANet

from models.metric import MetricUnavailableError
from models.metrics import find_metric
from models.metrics.pyiqa_metrics import _networks

warnings.simplefilter("error")
torch.manual_seed(0)
folder = Path(os.environ["TORCH_HOME"]) / "hub" / "pyiqa"
folder.mkdir(parents=True)
torch.save({"params": CNNIQA(pretrained=None).state_dict()}, folder / "CNNIQA_koniq10k-e6f14c91.pth")
torch.save(MUSIQ(pretrained=False).state_dict(), folder / "musiq_koniq_ckpt-e95806b9.pth")
(folder / "musiq_spaq_ckpt-358bb6af.pth").write_bytes(b"not a checkpoint")
official = {key.replace("head.", "net."): value for key, value in MetaIQA(pretrained=False).state_dict().items()}
torch.save(official, folder / "Metaiqa_livec.pth")

model = Path(os.environ["HF_HOME"]) / "hub" / "models--timm--resnet50.a1_in1k"
(model / "refs").mkdir(parents=True)
(model / "refs" / "main").write_text("abc")
(model / "snapshots" / "abc").mkdir(parents=True)
safetensors.torch.save_file(
    timm.create_model("resnet50").state_dict(), model / "snapshots" / "abc" / "model.safetensors"
)
topiq = CFANet("resnet50", backbone_pretrain=False, use_ref=False, pretrained=False)
torch.save({"params": topiq.state_dict()}, folder / "cfanet_nr_koniq_res50-9a73138b.pth")


class Regressor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4096, 1)

    def forward(self, features):
        return self.linear(features)


checkpoints = folder.parent / "checkpoints"
checkpoints.mkdir()
resnet = torchvision.models.resnet50()
torch.save(resnet.state_dict(), checkpoints / "resnet50-0676ba61.pth")
encoder = torch.nn.Sequential(*list(resnet.children())[:-1]).state_dict()
torch.save({"model." + key: value for key, value in encoder.items()}, checkpoints / "ARNIQA.pth")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.jit.script(Regressor()).save(folder / "regressor_koniq10k.pth")

images = torch.rand(2, 3, 41, 67)
answers = {}
for name in ("cnniqa", "musiq", "metaiqa", "topiq_nr", "arniqa"):
    metric = find_metric("pyiqa:" + name)
    wanted = images.clone().requires_grad_()
    scores = metric(wanted)
    scores.sum().backward()
    with torch.no_grad():
        plain = metric(wanted)
    smallest = metric(torch.rand(1, 3, metric.card.min_side, metric.card.min_side))
    answers[name] = {
        "dtype": str(scores.dtype),
        "shape": list(scores.shape),
        "without_gradient": (scores - plain).abs().max().item(),
        "keeps_graph": plain.requires_grad,
        "alone": max((metric(images[i : i + 1]) - plain[i]).abs().item() for i in range(2)),
        "gradient": wanted.grad.abs().max().item(),
        "finite": bool(torch.isfinite(wanted.grad).all() and torch.isfinite(smallest).all()),
    }
answers["trainable"] = sum(
    parameter.requires_grad for network in _networks.values() for parameter in network.parameters()
)
answers["training"] = sum(module.training for network in _networks.values() for module in network.modules())


def failure(name):
    try:
        find_metric("pyiqa:" + name)(images)
    except MetricUnavailableError as error:
        return str(error)


answers["damaged"] = failure("musiq-spaq")
_networks.clear()
torch.save({key: value for key, value in official.items() if "fc3" not in key}, folder / "Metaiqa_livec.pth")
answers["incomplete"] = failure("metaiqa")
torch.save({"params": print}, folder / "CNNIQA_koniq10k-e6f14c91.pth")
answers["code"] = failure("cnniqa")
print(json.dumps(answers))
