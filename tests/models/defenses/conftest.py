import pytest
import torch


@pytest.fixture(scope="session")
def picture(photo):
    """The photo as a defense takes it: float32, (1, 3, 96, 128)."""
    return torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
