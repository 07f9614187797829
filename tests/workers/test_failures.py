"""What the sender of a job is told when it fails for a reason that was foreseen."""

import pytest

from models.attack import AttackError, AttackUnavailableError, NoGradientError
from models.availability import unavailable
from models.checkpoints import CheckpointError
from models.defense import DefenseUnavailableError, PurificationError
from models.images import BrokenImageError
from models.metric import MetricError, MetricUnavailableError, UndefinedScoreError, UnsuitableSizeError
from workers.process.failures import InputLostError, explain

UNAVAILABLE = (AttackUnavailableError, DefenseUnavailableError, MetricUnavailableError)
MISSING = unavailable("its weights are not here", "pull them")
CASES = {
    BrokenImageError: ("broken-image", 422), UnsuitableSizeError: ("image-size-unsuitable", 422),
    MetricUnavailableError: ("metric-unavailable", 409), DefenseUnavailableError: ("defense-unavailable", 409),
    CheckpointError: ("defense-unavailable", 409), AttackUnavailableError: ("attack-unavailable", 409),
    NoGradientError: ("no-gradient", 422), AttackError: ("attack-failed", 500),
    UndefinedScoreError: ("metric-failed", 422), MetricError: ("metric-failed", 500),
    PurificationError: ("purification-failed", 500), InputLostError: ("input-lost", 500),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_each_reason_has_a_code_and_says_whose_fault_it_is(kind):
    failure = explain(kind("name", MISSING) if issubclass(kind, UNAVAILABLE) else kind("why"))
    assert (failure.code, failure.status) == CASES[kind]
    assert failure.detail


def test_what_nobody_foresaw_is_not_explained_away():
    for error in (RuntimeError("why"), ValueError("why"), MemoryError(), OSError("why")):
        assert explain(error) is None
