"""The network of DiffPure: ADM for 256x256 pixels, trained on ImageNet without labels."""

from pathlib import Path
from typing import ClassVar

from models.checkpoints import Entry, Facts, Published, check_published
from models.diffusion.adm import adm_config, read_adm
from models.diffusion.adoption import keep
from models.diffusion.unet import KIND, AddedUNet

_URL = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt"
_FILE = Published(
    name="adm-256",
    file="256x256_diffusion_uncond.pt",
    url=_URL,
    download=_URL,
    license="MIT (OpenAI guided-diffusion)",
    size=2_211_383_297,
    sha256="a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
)


class ADM256(AddedUNet):
    """ADM for 256x256 pixels with its published weights (Dhariwal, Nichol 2021, arXiv 2105.05233)."""

    name: ClassVar[str] = _FILE.name
    license: ClassVar[str] = _FILE.license
    published: ClassVar[Published | None] = _FILE
    multiple = 32
    tile = 256


def _add(file: Path) -> Facts:
    check_published(file, _FILE)
    config = adm_config()
    return keep(ADM256.name, file, config, read_adm(file, config), ADM256.license)


PUBLISHED = (Entry(_FILE, KIND, _add),)
