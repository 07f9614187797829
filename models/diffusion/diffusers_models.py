"""The networks that ship as models of diffusers, for whoever builds pipelines there.

The service itself reads the same files without diffusers, whose import takes longer than purifying ten photographs.
"""

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from models.diffusion.ffdnet import FFDNet
from models.diffusion.pyramid import FFDNetPyramid


class FFDNetModel(FFDNet, ModelMixin, ConfigMixin):  # type: ignore[misc] # diffusers is untyped
    """`FFDNetModel.from_pretrained("models/diffusion/shipped/ffdnet")`; it is called as FFDNet is."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 96, depth: int = 12) -> None:
        """Make a network as FFDNet."""
        super().__init__(width, depth)


class FFDNetPyramidModel(FFDNetPyramid, ModelMixin, ConfigMixin):  # type: ignore[misc] # diffusers is untyped
    """`FFDNetPyramidModel.from_pretrained("models/diffusion/shipped/ffdnet-pyramid")`; called as FFDNetPyramid is."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 64, depth: int = 12, wide: int = 96, fork: int = 5) -> None:
        """Make a network as FFDNetPyramid."""
        super().__init__(width, depth, wide, fork)
