"""Steps along the sign of the gradient within a budget: what FGSM and its iterated relatives have in common."""

import torch
from torch import Tensor

from models.attack_target import Target
from models.progress import tracked


def sign_steps(
    target: Target, step: float | Tensor, iterations: int, momentum: float = 0, *, normalize: bool = False
) -> Tensor:
    """Return the images after steps of `step` (in [0, 1] units) against the gradient's sign, within the budget.

    With momentum the gradients of earlier steps are added, each step weighing `momentum` times less; normalized, each
    is divided by the mean of its magnitudes first. Raises ValueError if the target has no budget.
    """
    if target.budget is None:
        raise ValueError("sign steps need a budget")
    images = target.images.clone()
    low = (target.images - target.budget).clamp_(min=0)
    high = (target.images + target.budget).clamp_(max=1)
    steps = torch.as_tensor(step).to(images)
    gradients = torch.zeros(())
    for _ in tracked(range(iterations)):
        gradient = target.gradient(images).gradient
        if normalize:
            means = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
            gradient.div_(means.clamp_(min=torch.finfo(means.dtype).tiny))
        if momentum:
            gradients = gradient.add_(gradients, alpha=momentum)
        signs = gradient.sign() if momentum else gradient.sign_()
        images.addcmul_(signs, steps, value=-1).clamp_(low, high)
    return images
