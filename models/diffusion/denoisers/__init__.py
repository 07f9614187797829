"""A file here is a denoiser. `find_denoiser` reaches any of them by name, and those that a user added."""

import difflib
import re
import sys

from models.checkpoints import NAME
from models.diffusion import unet
from models.diffusion.denoiser import Denoiser
from models.discovery import concrete_subclasses


class UnknownDenoiserError(ValueError):
    """No denoiser has this name."""

    def __init__(self, name: str) -> None:
        close = difflib.get_close_matches(name, DENOISERS, n=1, cutoff=0.5)
        others = f"there are {', '.join(DENOISERS)}, and those in `purifiqa weights list`"
        hint = f"; did you mean {close[0]!r}?" if close else f"; {others}"
        super().__init__(f"there is no denoiser {name[:80]!r}{hint}")


DENOISERS: dict[str, Denoiser] = {
    kind.name: kind()
    for kind in concrete_subclasses(sys.modules[__name__], Denoiser)  # type: ignore[type-abstract]
}
"""Every denoiser of ours by name, in alphabetical order."""


HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def find_denoiser(name: str) -> Denoiser:
    """Return the denoiser of this name: ours, an added one, or for owner/name one of Hugging Face's local cache.

    A name is never a path. Raises UnknownDenoiserError, and CheckpointError if the added one cannot be read.
    """
    if name in DENOISERS:
        return DENOISERS[name]
    if NAME.fullmatch(name) and (added := unet.added(name)):
        return added
    if HUB_ID.fullmatch(name) and ".." not in name:
        return unet.on_hub(name)
    raise UnknownDenoiserError(name)
