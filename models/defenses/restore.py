from typing import ClassVar, Literal

from pydantic import Field

from models.restoration.defense import RestorationDefense


class Restore(RestorationDefense):
    """Run an added restoration network: denoise, deblur, or super-resolve and shrink back.

    Any network that `purifiqa weights add` accepts. Gushchin et al. (arXiv 2404.06957) use Real-ESRGAN and MPRNet, both
    with `outscale` 1; Guardians of Image Quality scores Real-ESRGAN's output at `outscale` 4.
    """

    name: Literal["restore"] = "restore"
    license: ClassVar[str] = "Apache-2.0 (code), that of the added network (weights)"

    network: str = Field(
        "real-esrgan",
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Name under which the network was added.",
        examples=["real-esrgan"],
    )

    @property
    def weights_name(self) -> str:
        return self.network
