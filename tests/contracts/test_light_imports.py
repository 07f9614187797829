"""What a process that serves the default order never imports: it would take seconds and hundreds of megabytes."""

import json
import subprocess
import sys

HEAVY = {"diffusers", "huggingface_hub", "pyiqa", "spandrel", "timm", "torchvision", "transformers"}

# Later steps include what earlier ones imported: the first step with something heavy is the one to blame.
CODE = """
import json, sys, torch
def loaded(): return sorted(sys.modules)
import app.main
steps = {"the app": loaded()}
from models.metrics import metrics
assert len([metric.availability() for metric in metrics().values()]) >= 74
steps["listing metrics"] = loaded()
from models.defenses import DEFENSES, parse_defense
assert [kind().availability() for kind in DEFENSES.values()]
steps["listing defenses"] = loaded()
for name in ("diffpure", "diffpure-unsharp", "diffpure-edges"):
    parse_defense(name)(torch.rand(1, 3, 16, 16), 1)
steps["purifying one-shot"] = loaded()
from workers.settings import WorkerSettings
from models.metrics import find_metric
for name in WorkerSettings().default_metrics.split(","):
    assert find_metric(name).availability().available
    find_metric(name)(torch.rand(1, 3, 64, 64))
steps["scoring by default"] = loaded()
print(json.dumps(steps))
"""


def test_serving_listing_purifying_one_shot_and_scoring_import_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    found = {step: sorted(HEAVY & set(modules)) for step, modules in json.loads(done.stdout).items()}
    assert list(found) == ["the app", "listing metrics", "listing defenses", "purifying one-shot", "scoring by default"]
    assert not any(found.values()), found
