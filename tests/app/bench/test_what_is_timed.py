"""The time of a step is that of its work, not of what is read once."""

from app.bench import perform
from app.bench.choices import Choices, draft, settle
from app.bench.folder import Folder
from app.bench.units import units_of
from models.defenses.flip import Flip


def test_a_defense_was_called_once_before_the_first_attack_through_it_is_timed(photos, tmp_path, standin, monkeypatch):
    calls, timed, attack_alone, purify = [], [], perform.attack_alone, Flip.purify
    perform._warm.cache_clear()
    monkeypatch.setattr(Flip, "purify", lambda *given: (calls.append(given), purify(*given))[1])
    monkeypatch.setattr(perform, "attack_alone", lambda *given: (timed.append(len(calls)), attack_alone(*given))[1])
    choices = Choices(photos, tmp_path / "out", attacks="fgsm", defenses="flip", metrics="standin", adaptive="flip")
    manifest, folder = settle(choices, draft(choices, "1")), Folder(choices.out)
    unit = next(unit for unit in units_of(manifest.parameters) if unit.through)
    list(perform.perform(unit, folder, "cpu"))
    assert timed == [1]
