"""Which attack of a study misleads which metric, and which goes through which defense."""

from collections.abc import Sequence

from app.bench.items import BenchError, Item, Skipped, attack_of, defense_of, label_of, metric_of, split
from app.bench.parameters import Apart, Pair
from app.bench.sweeps import expand
from models.defenses import DEFENSES


def pairs(attacks: Sequence[Item], metrics: Sequence[Item], named: set[str]) -> tuple[tuple[Pair, ...], list[Skipped]]:
    """Return which attack can mislead which metric. Raises BenchError for a `named` attack that can mislead none."""
    found: list[Pair] = []
    impossible: list[Skipped] = []
    for attack in attacks:
        before = len(found)
        for metric in metrics:
            reason = None
            if attack_of(attack).white_box and not metric_of(metric).card.differentiable:
                reason = f"{attack.label} needs gradients, and {metric.label} has none"
            elif not attack_of(attack).misleads(metric_of(metric)):
                version = metric_of(metric).card.version
                reason = f"{attack.label} was learned on another metric than {metric.label}, version {version}"
            if reason:
                impossible.append(Skipped(kind="pair", name=f"{attack.label} on {metric.label}", reason=reason))
            else:
                found.append(Pair(attack=attack.label, metric=metric.label))
        if len(found) == before and attack.label in named:
            raise BenchError(f"{impossible[-1].reason}: choose another metric, or a black-box attack")
    if not found:
        raise BenchError(f"no attack can mislead a metric: {'; '.join(one.reason for one in impossible)}")
    return tuple(found), impossible


def apart(attacks: Sequence[Item], defenses: Sequence[Item]) -> tuple[tuple[Apart, ...], list[Skipped]]:
    """Return which attacks do not go through which of the defenses, or always through one, and that they are left out.

    Raises BenchError for one that only goes through a defense which is not there.
    """
    found: list[Apart] = []
    skipped: list[Skipped] = []
    for attack in attacks:
        foreign = [defense for defense in defenses if not attack_of(attack).goes_through(defense_of(defense))]
        if not attack_of(attack).goes_through(None):
            universal = attack_of(attack).universal
            why = "it was learned through a defense" if universal else "with both=true it goes through a defense"
            if len(foreign) == len(defenses):
                its = "that defense, with the same parameters" if universal else "one"
                raise BenchError(f"{attack.label}: {why}: name {its}, with --adaptive")
            found.append(Apart(attack=attack.label, defense="none"))
            reason = f"{why}, so it is not an attack on the undefended metric"
            skipped.append(Skipped(kind="pair", name=f"{attack.label} through nothing", reason=reason))
        for defense in foreign:
            found.append(Apart(attack=attack.label, defense=defense.label))
            reason = "it was not learned through this defense"
            skipped.append(Skipped(kind="pair", name=f"{attack.label} through {defense.label}", reason=reason))
    return tuple(found), skipped


def adaptive(given: str | None, defenses: Sequence[Item], *, is_all_ordered: bool) -> tuple[str, ...]:
    """Return the labels of the defenses to attack through; a bare name means all defenses of that name.

    Raises BenchError for one that is not there, and, unless every attack is ordered, for one that only a server has.
    """
    labels = _adaptive_labels(given, defenses)
    return labels if is_all_ordered else _usable_here(labels, defenses)


def _adaptive_labels(given: str | None, defenses: Sequence[Item]) -> tuple[str, ...]:
    usable = [defense for defense in defenses if defense.label != "none"]
    if given is None:
        return ()
    if given == "all":
        return tuple(defense.label for defense in usable)
    wanted: set[str] = set()
    for text in expand(split(given), DEFENSES):
        named = {defense.label for defense in usable if text in (defense.label, defense.about["name"])}
        labels = named or {label_of(text)}
        if not labels <= {defense.label for defense in usable}:
            there = ", ".join(defense.label for defense in usable)
            raise BenchError(f"--adaptive names {text}, which is not among the defenses: {there}")
        wanted |= labels
    return tuple(defense.label for defense in usable if defense.label in wanted)


def _usable_here(labels: tuple[str, ...], defenses: Sequence[Item]) -> tuple[str, ...]:
    """Return the labels. Raises BenchError for a defense that only a server can use."""
    for defense in defenses:
        availability = defense_of(defense).availability()
        if defense.label in labels and not availability.available:
            raise BenchError(
                f"{defense.label} is not usable here, so no attack can go through it: {availability.explanation}"
            )
    return labels
