"""The trials of benchmarks.chaos in their short form: real processes, killed and stopped on purpose.

`python -m benchmarks.chaos` is the long form.
"""

import pytest

from benchmarks.chaos import broker_outages, flood, killed_api, killed_workers, poison, soak
from benchmarks.chaos.site import site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def here():
    """A service whose workers are ours, but for one seed that kills them."""
    with site(code=poison.WORKER) as here:
        yield here


def test_nothing_accepted_is_lost_when_workers_are_killed(here):
    result = killed_workers.run(here, jobs=30, every=(0.1, 0.5))
    assert result.measured["finished"] == 30
    assert result.measured["ended twice"] == 0
    assert result.measured["kills in a job"] >= 1
    assert result.measured["images"] == 30


@pytest.mark.parametrize(("how", "seconds"), [("killed", 1), ("stopped", 5)])
def test_nothing_accepted_is_lost_when_the_broker_is_away(here, how, seconds):
    result = broker_outages.run(here, seconds, how, pause=0.1)
    assert result.held, result
    assert result.measured["answered 503"] > 0


def test_a_poison_image_is_quarantined_and_harms_nobody_else(here):
    result = poison.run(here, others=8)
    assert result.held, result


def test_what_the_broker_has_lost_is_restored_from_the_store(here):
    result = broker_outages.lost(here)
    assert result.held, result


def test_an_api_that_is_killed_leaves_no_job_or_one_that_finishes(here):
    result = killed_api.run(here)
    assert result.held, result


def test_a_flood_of_one_api_key_leaves_the_other_its_turns():
    with site(keys=flood.KEYS) as here:
        result = flood.run(here, orders=10)
    assert result.measured["waiting at first"] > 20, "no flood"
    # Without turns it would wait for all of them. The contract, 2 for the p95, is for a machine with nothing else to do.
    assert result.measured["p50 x"] < 4, result


def test_keys_and_files_return_to_the_baseline():
    with site(**soak.SETTINGS) as here:
        result = soak.run(here, 120)
    assert result.measured["keys and files left"] == 0, result
