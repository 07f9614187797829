"""Restoration networks that a user adds, and those of Gushchin et al. (arXiv 2404.06957) that can be added by name."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import checkpoints
from models.checkpoints import CheckpointError, Entry, Facts, Published, check_published
from models.defense import PurificationError
from models.diffusion.precision import dtype_for
from models.restoration.restorer import CURE, Restorer, first_line, identify
from models.tensors import lasting
from models.weight_files import check_state, read_state

KIND = "restorer"


def adopt(name: str, file: Path) -> Facts:
    """Add the restoration network in a .pth, .pt, .ckpt or .safetensors file under `name`. Raises CheckpointError."""
    checkpoints.folder(name)
    return _keep(name, file, _read(file))


def load(name: str, device: torch.device) -> Restorer:
    """Return the added network of this name, ready to run on `device`; read once. Raises CheckpointError."""
    facts = checkpoints.find(name, KIND)
    return _load(name, facts.sha256 if facts else "", device, dtype_for(device, measured=False))


@functools.lru_cache(maxsize=4)
def _load(name: str, sha256: str, device: torch.device, dtype: torch.dtype) -> Restorer:  # noqa: ARG001 - of the key
    with lasting():
        state, _ = checkpoints.load(name, KIND)
        return identify(checkpoints.folder(name), state).to(device, dtype)


def _read(file: Path) -> dict[str, Tensor]:
    """Return the weights in a file, in float32, whatever they are wrapped in. Raises CheckpointError."""
    from spandrel import canonicalize_state_dict

    state = read_state(file)
    if all(isinstance(key, str) for key in state):
        state = canonicalize_state_dict(state)
    if not state or not all(isinstance(key, str) and _is_plain(value) for key, value in state.items()):
        raise CheckpointError(f"{file} holds no named tensors, or other things besides them; {CURE}")
    if sum(value.nbytes for value in state.values()) > 2 * file.stat().st_size:
        raise CheckpointError(f"{file} is damaged: it shows its numbers more than twice; {CURE}")
    # clone: tensors that share memory cannot be kept as safetensors
    copy = {k: (v.detach().float() if v.is_floating_point() else v.detach()).clone() for k, v in state.items()}
    check_state(file, copy, copy)
    return copy


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_complex()


def _keep(name: str, file: Path, state: Mapping[str, Tensor], more: Mapping[str, Any] | None = None) -> Facts:
    """Try the network of these weights on a small picture and, if it restores it, keep it. Raises CheckpointError."""
    restorer = identify(file, state)
    side = 32 + restorer.padding(32, 32)[0]
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            restored = restorer.whole(picture)
    except PurificationError as error:
        raise CheckpointError(f"{file} is damaged: its {restorer.architecture} returns NaN or infinity") from error
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise CheckpointError(f"{file}, {restorer.architecture}, does not run: {first_line(error)}; {CURE}") from error
    if restored.shape != (1, 3, side * restorer.scale, side * restorer.scale):
        raise CheckpointError(f"{file} is damaged: its {restorer.architecture} does not return an image")
    config = {"architecture": restorer.architecture, "scale": restorer.scale, **(more or {})}
    return checkpoints.add(name, KIND, file, state, config)


GENERAL, WDN = (
    Published(
        name="real-esrgan",
        file=file,
        url=f"https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/{file}",
        download=f"https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/{file}",
        license="BSD-3-Clause",
        size=None,
        sha256=None,
    )
    for file in ("realesr-general-x4v3.pth", "realesr-general-wdn-x4v3.pth")
)
MPRNET = Published(
    name="mprnet",
    file="mprnet_denoise.pth",  # the paper's name for it; published as model_denoising.pth
    url="https://drive.google.com/file/d/1LODPt9kYmxwU98g96UrRA0_Eh5HYcsRw/view",
    license="Academic Public License: noncommercial use only",
    size=None,
    sha256=None,
)
STRENGTH = 0.2
"""Real-ESRGAN's denoise_strength in Gushchin et al.: the share of GENERAL; the rest is WDN."""


def _add_real_esrgan(file: Path) -> Facts:
    """Blend the file with its partner, which lies beside it, and add that. Raises CheckpointError."""
    partner = file.with_name(WDN.file)
    if file.name == WDN.file:
        raise CheckpointError(f"{file} is only the partner file: give {GENERAL.file}, with {WDN.file} beside it")
    check_published(file, GENERAL)
    if not partner.is_file():
        raise CheckpointError(f"{partner} is missing, and the two are blended. Download {WDN.url} and put it there")
    check_published(partner, WDN)
    general, wdn = _read(file), _read(partner)
    check_state(partner, wdn, general)
    if all(torch.equal(general[key], wdn[key]) for key in general):
        raise CheckpointError(f"{partner} holds the weights of {file}: download {GENERAL.url} and {WDN.url}")
    blend = {key: torch.lerp(wdn[key], general[key], STRENGTH) for key in general}
    return _keep(GENERAL.name, file, blend, {"denoise_strength": STRENGTH})


def _add_mprnet(file: Path) -> Facts:
    """Add MPRNet's weights, and nothing else, under its name. Raises CheckpointError."""
    check_published(file, MPRNET)
    state = _read(file)
    if (architecture := identify(file, state).architecture) != "MPRNet":
        raise CheckpointError(f"{file} holds {architecture}, not MPRNet: download {MPRNET.url}")
    return _keep(MPRNET.name, file, state)


PUBLISHED: tuple[Entry, ...] = (
    Entry(GENERAL, KIND, _add_real_esrgan, partners=(WDN,)),
    Entry(MPRNET, KIND, _add_mprnet),
)
"""What `purifiqa weights add` knows by name."""
