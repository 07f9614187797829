"""A file here is a denoiser. `find_denoiser` reaches any of them by name, and those that a user added."""

import difflib
import sys

from models.diffusion.denoiser import Denoiser
from models.discovery import concrete_subclasses


class UnknownDenoiserError(ValueError):
    """No denoiser has this name."""

    def __init__(self, name: str) -> None:
        close = difflib.get_close_matches(name, DENOISERS, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(DENOISERS)}"
        super().__init__(f"there is no denoiser {name[:80]!r}{hint}")


DENOISERS: dict[str, Denoiser] = {
    kind.name: kind()
    for kind in concrete_subclasses(sys.modules[__name__], Denoiser)  # type: ignore[type-abstract]
}
"""Every denoiser of ours by name, in alphabetical order."""


def find_denoiser(name: str) -> Denoiser:
    """Return the denoiser of this name. Raises UnknownDenoiserError."""
    if name in DENOISERS:
        return DENOISERS[name]
    raise UnknownDenoiserError(name)
