"""Files of a UNet2DModel: a folder as diffusers saves it, or the same in the local cache of Hugging Face."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from models.checkpoints import CheckpointError
from models.diffusion.schedule import BETA_END, BETA_START, STEPS
from models.weight_files import check_state, read_state
from models.weights import Weight

KIND = "denoiser"
CONFIG = "config.json"
STATES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

_SCHEDULE = {"beta_schedule": "linear", "num_train_timesteps": STEPS, "prediction_type": "epsilon"}
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_NOT_BUILT = (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError)
_LICENSE = re.compile(r"\A---\n(?:.*\n)*?license:[ \t]*(\S+)")


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of the UNet2DModel in a folder that can be a denoiser. Raises CheckpointError."""
    config = _read_json(_unet(folder) / CONFIG)
    check_config(_unet(folder) / CONFIG, config)
    homes = (folder, folder.parent) if folder.name == "unet" else (folder,)
    for home in homes:
        for place in (home / "scheduler" / "scheduler_config.json", home / "scheduler_config.json"):
            if place.is_file():
                check_schedule(place, _read_json(place))
    return config


def read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in a folder, exactly those that `config` calls for. Raises CheckpointError."""
    file = weights_file(folder)
    state = {_renamed(str(key)): value for key, value in read_state(file).items()}
    check_state(file, state, empty(config, file).state_dict())
    return state


def weights_file(folder: Path) -> Path:
    """Return the file with the weights. Raises CheckpointError if there is none."""
    for name in STATES:
        if (file := _unet(folder) / name).is_file():
            return file
    raise CheckpointError(f"{_unet(folder)} holds no weights: neither {STATES[0]} nor {STATES[1]} is there")


def read_license(folder: Path) -> str:
    """Return the license in a folder's model card."""
    card = folder / "README.md"
    found = _LICENSE.match(card.read_text(errors="replace")) if card.is_file() else None
    return found[1][:64] if found else "not stated"


class Snapshot:
    """What the local cache of Hugging Face holds under an id, owner/name."""

    def __init__(self, identifier: str) -> None:
        """Take the id; its files need not be there."""
        self._weight = Weight(
            folder="{huggingface}", file=f"{identifier}/{CONFIG}", url=f"https://huggingface.co/{identifier}"
        )

    @property
    def folder(self) -> Path:
        """Where its main branch is."""
        return self._weight.path().parent

    @property
    def cure(self) -> str:
        """How to get it."""
        return self._weight.cure().capitalize().replace("hf_hub_cache", "HF_HUB_CACHE")

    def is_here(self) -> bool:
        """Return whether there are its configuration and weights."""
        folder = _unet(self.folder)
        return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in STATES)

    def config(self) -> dict[str, Any]:
        """Return its configuration. Raises CheckpointError."""
        return read_config(self.folder)

    def state(self) -> dict[str, Tensor]:
        """Return its weights. Raises CheckpointError."""
        return read_weights(self.folder, self.config())

    def license(self) -> str:
        """Return the license in its model card."""
        return read_license(self.folder)


def build(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> torch.nn.Module:
    """Return the network, frozen, on the CPU. `state` must fit: see `read_weights`."""
    network = empty(config, Path(CONFIG))
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def empty(config: Mapping[str, Any], file: Path) -> torch.nn.Module:
    """Return the network without memory for its weights. Raises CheckpointError."""
    from diffusers import UNet2DModel

    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    try:
        with torch.device("meta"):
            network: Any = UNet2DModel(**arguments)  # type: ignore[no-untyped-call]
    except _NOT_BUILT as error:
        raise CheckpointError(
            f"{file} does not describe a UNet2DModel: {(str(error).splitlines() or [''])[0]}"
        ) from error
    return cast("torch.nn.Module", network)


def check_config(file: Path, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError for a UNet that is no denoiser of RGB images; `file` is named in it."""
    wrong = {
        "it is not a UNet2DModel": config.get("_class_name", "UNet2DModel") != "UNet2DModel",
        "it does not take RGB images": config.get("in_channels", 3) != 3,
        "it does not return noise for RGB images": config.get("out_channels", 3) not in (3, 6),
        "it is conditioned on classes": config.get("num_class_embeds") or config.get("class_embed_type"),
        "it was not trained on DDPM's timesteps": config.get("time_embedding_type", "positional") != "positional",
        "it expects images in [0, 1]": config.get("center_input_sample"),
        "block_out_channels is not a list": not isinstance(config.get("block_out_channels"), list | tuple),
        "sample_size is not a size in pixels": not _is_size(config.get("sample_size")),
    }
    for why, is_wrong in wrong.items():
        if is_wrong:
            raise CheckpointError(f"{file} cannot be used as a denoiser: {why}")


def _is_size(found: Any) -> bool:
    """Return whether this is a side in pixels, a list of them, or nothing, which diffusers allows too."""
    sides = found if isinstance(found, list | tuple) else [found or 1]
    return all(type(side) is int and side > 0 for side in sides)


def check_schedule(file: Path, config: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a scheduler's configuration is the linear schedule with epsilon."""
    expected = {**_SCHEDULE, "beta_start": BETA_START, "beta_end": BETA_END, "trained_betas": None}
    expected["rescale_betas_zero_snr"] = False
    for key, value in expected.items():
        if (found := config.get(key, value)) != value:
            raise CheckpointError(f"{file} is not DDPM's linear schedule with epsilon: {key} is {found}, not {value}")


def _unet(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet" / CONFIG).is_file() else folder


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing: this folder was not saved by diffusers") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no configuration")
    return content


def _renamed(key: str) -> str:
    """Return the present name of a tensor: files from before 2023 name the parts of attention otherwise."""
    module, _, kind = key.rpartition(".")
    parent, _, part = module.rpartition(".")
    return f"{parent}.{_OLD_NAMES[part]}.{kind}" if ".attentions." in key and part in _OLD_NAMES else key
