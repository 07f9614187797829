"""A part of the service that ends is started again, unless it cannot live."""

import pytest

from app.command import parts
from app.command.parts import QUICK_DEATHS_ALLOWED, Part, StartError


@pytest.mark.parametrize(("command", "may_go_on"), [("true", True), ("false", False)])
def test_a_part_that_ends_by_itself_is_started_afresh_as_often_as_it_likes(monkeypatch, command, may_go_on):
    monkeypatch.setattr(parts, "RESTART_SECONDS", 0)
    part = Part("worker 1", [command], {})
    part.start()

    def live(times):
        for _ in range(times):
            part.process.wait()
            part.revive()

    if may_go_on:
        live(QUICK_DEATHS_ALLOWED + 3)
    else:
        with pytest.raises(StartError, match="keeps dying"):
            live(QUICK_DEATHS_ALLOWED)
    part.stop()
