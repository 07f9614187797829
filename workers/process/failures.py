"""What the sender of a job that failed is told: a code, a sentence, and whether it was the order's fault."""

import torch

from models.attack import AttackError, AttackUnavailableError, NoGradientError
from models.checkpoints import CheckpointError
from models.defense import DefenseUnavailableError, PurificationError
from models.images import ImageError
from models.metric import MetricError, MetricUnavailableError, UndefinedScoreError, UnsuitableSizeError
from workers.process.consumer import TimeLimitError
from workers.state.record import TIME_LIMIT, Failure

NO_MEMORY = "can't allocate memory"
"""What torch says in a plain RuntimeError where a CPU's memory runs out."""


class InputLostError(RuntimeError):
    """The store no longer holds the image of a job."""


def explain(error: Exception) -> Failure | None:
    """Return what to tell the sender about an expected failure; None for one that another try may cure."""
    match error:
        case ImageError():
            return Failure(code=error.code, detail=str(error), status=422)
        case UnsuitableSizeError():
            return Failure(code="image-size-unsuitable", detail=str(error), status=422)
        case MetricUnavailableError():
            return Failure(code="metric-unavailable", detail=str(error), status=409)
        case DefenseUnavailableError() | CheckpointError():
            return Failure(code="defense-unavailable", detail=str(error), status=409)
        case AttackUnavailableError():
            return Failure(code="attack-unavailable", detail=str(error), status=409)
        case NoGradientError():
            return Failure(code="no-gradient", detail=str(error), status=422)
        case AttackError():
            return Failure(code="attack-failed", detail=str(error))
        case UndefinedScoreError():
            return Failure(code="metric-failed", detail=str(error), status=422)
        case MetricError():
            return Failure(code="metric-failed", detail=str(error))
        case PurificationError():
            return Failure(code="purification-failed", detail=str(error))
        case TimeLimitError():
            return TIME_LIMIT
        case InputLostError():
            return Failure(code="input-lost", detail="The image is no longer in the store.")
        case _:
            return None


def given_up(error: Exception) -> Failure:
    """Return what to tell the sender about a failure that nobody expected and that another try did not cure."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY in str(error):
        detail = "Memory ran out twice while the job ran. Send a smaller image or a cheaper order."
        return Failure(code="out-of-memory", detail=detail)
    return Failure(
        code="internal-error", detail="Internal error while the job ran; the details are in the log of the worker."
    )
