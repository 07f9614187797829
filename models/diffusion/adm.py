"""ADM (Dhariwal, Nichol 2021, arXiv 2105.05233): its published weight files as a UNet2DModel of diffusers.

The files name modules after their place in the original network and keep query, key and value of each attention head
together; UNet2DModel keeps all queries together. With the wrong order the file loads and the images are garbage.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from models.diffusion.unet_files import empty
from models.weight_files import check_state, read_state

_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "qkv", "to_k": "qkv", "to_v": "qkv", "to_out.0": "proj_out"}
_PART = {"to_q": 0, "to_k": 1, "to_v": 2}


def adm_config(
    size: int = 256,
    width: int = 256,
    multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
    attention_from: int = 3,
    head: int = 64,
    layers: int = 2,
) -> dict[str, Any]:
    """Return the arguments of UNet2DModel for ADM, by default for the published one of 256 pixels.

    `width` is the first level's channels, the others have `multipliers` of it; levels from `attention_from` on attend,
    with heads of `head` channels; each level has `layers` residual blocks on the way down.
    """
    count = len(multipliers)
    attends = [level >= attention_from for level in range(count)]
    return {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 6,
        "layers_per_block": layers,
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "down_block_types": ["AttnDownBlock2D" if one else "ResnetDownsampleBlock2D" for one in attends],
        "up_block_types": ["AttnUpBlock2D" if one else "ResnetUpsampleBlock2D" for one in reversed(attends)],
        "attention_head_dim": head,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    }


def read_adm(file: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of the UNet2DModel built with `config` from a published file. Raises CheckpointError."""
    state = read_state(file)
    check_state(file, state, _published_state(config))
    return convert(state, config)


def convert(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a published state, complete for `config`, under the names and with the shapes of UNet2DModel."""
    originals, converted = module_names(config), {}
    for key, like in empty(config, Path("ADM")).state_dict().items():
        module, _, kind = key.rpartition(".")
        tensor = state[f"{originals[module]}.{kind}"]
        part = _PART.get(module.rpartition(".")[2])
        if part is not None:
            tensor = tensor.reshape(-1, 3, config["attention_head_dim"], *tensor.shape[1:])[:, part].flatten(0, 1)
        converted[key] = tensor.reshape(like.shape)  # a linear layer is a convolution of width 1 there
    return converted


def module_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the original name of each module of the UNet2DModel that has parameters; of some that have none too."""
    names = dict(_OUTSIDE)

    def name(kind: str, ours: str, original: str) -> None:
        parts = _ATTENTION if kind == "attention" else _RESNET
        names.update({f"{ours}.{one}": f"{original}.{other}" for one, other in parts.items()})

    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    number = 1
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            name("resnet", f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{number}.0")
            if kind.startswith("Attn"):
                name("attention", f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{number}.1")
            number += 1
        if level < levels - 1:
            name("resnet", f"down_blocks.{level}.downsamplers.0", f"input_blocks.{number}.0")
            number += 1
    name("resnet", "mid_block.resnets.0", "middle_block.0")
    name("attention", "mid_block.attentions.0", "middle_block.1")
    name("resnet", "mid_block.resnets.1", "middle_block.2")
    number = 0
    for level, kind in enumerate(config["up_block_types"]):
        attends = kind.startswith("Attn")
        for layer in range(layers + 1):
            name("resnet", f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{number}.0")
            if attends:
                name("attention", f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{number}.1")
            if level < levels - 1 and layer == layers:
                name("resnet", f"up_blocks.{level}.upsamplers.0", f"output_blocks.{number}.{1 + attends}")
            number += 1
    return names


def _published_state(config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the names and shapes in a published file, as tensors without content."""
    originals, published = module_names(config), {}
    for key, tensor in empty(config, Path("ADM")).state_dict().items():
        module, _, kind = key.rpartition(".")
        shape = list(tensor.shape)
        if module.rpartition(".")[2] in _PART:
            shape[0] *= 3
        if ".attentions." in key and kind == "weight" and len(shape) == 2:
            shape.append(1)
        published[f"{originals[module]}.{kind}"] = tensor.new_empty(shape)
    return published
