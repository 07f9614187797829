"""When a worker that is to end gives its job back."""

from workers.process.stopping import Stopping


def test_who_ends_by_itself_has_the_whole_grace_when_it_is_told_to_stop_too():
    stopping = Stopping(grace=1000)
    stopping.retire()
    assert (stopping.requested, stopping.is_due) == (True, False)
    stopping.request()
    assert not stopping.is_due
    stopping.request()
    assert stopping.is_due
