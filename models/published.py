"""Every weight file that can be added by name, and how anything else is added."""

from pathlib import Path

from models import checkpoints, metrics
from models.checkpoints import CheckpointError, Entry, Facts
from models.diffusion import adoption, denoisers
from models.diffusion.denoisers import DENOISERS
from models.discovery import modules
from models.fcn import weights as fcn
from models.restoration import networks

PUBLISHED: dict[str, Entry] = {
    entry.published.name: entry
    for module in (*modules(denoisers), *modules(metrics), networks, fcn)
    for entry in getattr(module, "PUBLISHED", ())
}
"""By name: what the files of denoisers and metrics, restoration, and the FCN filter declare as `PUBLISHED`."""


def add(name: str, source: Path) -> Facts:
    """Add a published file, or under a new name a UNet2DModel's folder or a restoration network's file.

    Raises CheckpointError.
    """
    if source.exists() and not (source.is_file() or source.is_dir()):
        raise CheckpointError(f"{source} is neither a file nor a folder")
    if entry := PUBLISHED.get(name):
        return entry.add(source)
    checkpoints.folder(name)
    if name in DENOISERS:
        raise CheckpointError(f"{name} is a built-in denoiser; choose another name")
    if not source.exists():
        raise CheckpointError(f"{source} does not exist")
    return adoption.adopt(name, source) if source.is_dir() else networks.adopt(name, source)
