from typing import ClassVar

from models.diffusion.chain import ChainDenoiser


class FFDNetSlim(ChainDenoiser):
    """FFDNet narrowed from 96 to 72 channels and trained on: 57 % of the work, by `python -m training.denoiser`."""

    name: ClassVar[str] = "ffdnet-slim"
    license: ClassVar[str] = "Apache-2.0, from MIT (KAIR)"
