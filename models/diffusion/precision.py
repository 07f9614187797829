"""Which number format networks compute in: the fast one, where it is known to lose less than 0.1 dB."""

import os
from collections.abc import Mapping

import torch

PRECISION = "PURIFIQA_PRECISION"
"""Name of the environment variable: auto, float32 or bfloat16."""


def dtype_for(device: torch.device, *, measured: bool) -> torch.dtype:
    """Return bfloat16 where the device is faster in it, else float32; PRECISION wins. Raises ValueError.

    A network whose loss in bfloat16 nobody has `measured` stays in float32 unless PRECISION says otherwise.
    """
    wish = os.environ.get(PRECISION, "auto")
    if wish in ("float32", "bfloat16"):
        return torch.float32 if wish == "float32" else torch.bfloat16
    if wish != "auto":
        raise ValueError(f"{PRECISION} must be auto, float32 or bfloat16, not {wish!r}")
    if not measured:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _is_faster_in_bfloat16(torch.cpu.get_capabilities()) else torch.float32


def _is_faster_in_bfloat16(processor: Mapping[str, object]) -> bool:
    """Tell by a processor's name and instructions (docs/performance.md), so that the same one always computes alike.

    With AMX the shipped denoisers take a sixth to a quarter of float32's time, with AMD's AVX-512 BF16 half of it.
    With Intel's and no AMX, as in virtual machines, they take 1.6 times as long; with neither it is emulated.
    """
    is_amd = "AMD" in str(processor.get("cpu_name"))
    return bool(processor.get("amx_bf16") or (is_amd and processor.get("avx512_bf16")))
