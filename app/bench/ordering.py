"""How a step of a study is ordered from a service, and what becomes of its answer."""

from collections.abc import Sequence
from typing import Any

from app.bench.folder import AttackRecord, DefenseRecord, Folder, write_whole
from app.bench.items import Item, defense_of
from app.bench.measure import Purified, measure
from app.bench.server import Server, check_version
from app.bench.units import Unit
from app.command.client import ServerError
from models.attack_alone import AttackFacts

NO_SCORE = ("metric-failed", "image-size-unsuitable")
"""Codes of the problems that an order fails with if a metric has no score for the picture."""


def order_attack(server: Server, folder: Folder, unit: Unit) -> AttackRecord:
    """Let the service attack the picture, and keep the attacked one.

    Raises ServerError, NotKeptError, BenchError for a service that would give other numbers, ValueError.
    """
    if unit.attack is None:
        raise ValueError("a clean picture is not attacked")
    [metric] = unit.metrics
    fields = {"attack": unit.attack.json_text, "metric": metric.label, "seed": str(unit.picture.seed)}
    if unit.through:
        fields["defense"] = unit.through.json_text
    job, file = _with_file(server, "attack", folder.clean_picture(unit.picture.key).read_bytes(), fields)
    told = job["result"]["attack"]
    check_version(server.url, metric, told)
    write_whole(folder.attacked_picture(unit), file)
    undefended = told["attacked"] if unit.through else None
    return AttackRecord(**{name: told[name] for name in AttackFacts.model_fields}, undefended=undefended)


def order_defense(server: Server, folder: Folder, unit: Unit, item: Item) -> DefenseRecord:
    """Let the service purify and score the picture, clean or attacked, and compare what it made. Raises as above."""
    image = (folder.attacked_picture(unit) if unit.attack else folder.clean_picture(unit.picture.key)).read_bytes()
    done = _scored(server, unit, item, image, unit.metrics)
    return measure(unit, folder, item, folder.read_clean(unit), done)


def _scored(server: Server, unit: Unit, item: Item, image: bytes, metrics: Sequence[Item]) -> Purified:
    """Return what the defense made, with the scores that there are: the service answers all of an order or nothing."""
    try:
        return _purified(server, unit, item, image, metrics)
    except ServerError as error:
        if error.code not in NO_SCORE or not metrics:
            raise
        why = f"server: {error}"[:1000]
    if len(metrics) == 1:
        return _purified(server, unit, item, image, ())._replace(unscored={metrics[0].label: why})
    done = [_scored(server, unit, item, image, [metric]) for metric in metrics]
    scores = {name: score for one in done for name, score in one.scores.items()}
    return done[0]._replace(scores=scores, unscored={name: why for one in done for name, why in one.unscored.items()})


def _purified(server: Server, unit: Unit, item: Item, image: bytes, metrics: Sequence[Item]) -> Purified:
    fields = {
        "defense": item.json_text,
        "metrics": ",".join(metric.label for metric in metrics),
        "seed": str(unit.picture.seed),
    }
    is_sampled = bool(metrics) and unit.samples > 1 and defense_of(item).is_stochastic
    purifying = {**fields, "format": "png"} | ({"metrics": ""} if is_sampled else {})  # nothing is scored twice
    job, file = _with_file(server, "purify", image, purifying)
    scored = job
    if is_sampled:
        scored, _ = _ordered(server, "score", image, {**fields, "samples": str(unit.samples)})
    told = {one["metric"]: one for one in scored["result"]["scores"]}
    for metric in metrics:
        check_version(server.url, metric, told[metric.label])
    scores = {metric.label: float(told[metric.label]["defended"]) for metric in metrics}
    return Purified(file, scores, {}, job["timings_ms"]["purify"] / 1000)


def _with_file(server: Server, kind: str, image: bytes, fields: dict[str, str]) -> tuple[dict[str, Any], bytes]:
    job, file = _ordered(server, kind, image, fields)
    if file is None:
        raise ValueError("the server returned no image")
    return job, file


def _ordered(server: Server, kind: str, image: bytes, fields: dict[str, str]) -> tuple[dict[str, Any], bytes | None]:
    # done anew: an answer that the service remembers, as of a study that was killed, tells no times
    job, file = server.client.order(kind, image, fields, **{"Cache-Control": "no-cache"})
    server.client.erase(job)
    return job, file
