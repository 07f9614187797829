"""Which number format networks compute in: the fast one, where it is known to lose less than 0.1 dB."""

import os

import torch

PRECISION = "PURIFIQA_PRECISION"
"""Name of the environment variable: auto, float32 or bfloat16."""


def dtype_for(device: torch.device, *, measured: bool) -> torch.dtype:
    """Return bfloat16 where the device multiplies it in hardware, else float32; PRECISION wins. Raises ValueError.

    A network whose loss in bfloat16 nobody has `measured` stays in float32 unless PRECISION says otherwise. A processor
    without bfloat16 instructions (before AVX-512 BF16 and AMX) emulates it, ten times slower than float32.
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
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else torch.float32
