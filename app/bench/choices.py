"""From what the command was given to the parameters of a study; all that can be wrong is found before anything runs."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.bench import pairing, pictures
from app.bench.folder import Folder, write_whole
from app.bench.items import (
    BenchError,
    Found,
    Skipped,
    attack_of,
    find_attacks,
    find_defenses,
    find_metrics,
    metric_of,
    split,
)
from app.bench.measure import MEASURES
from app.bench.opinions import read_opinions
from app.bench.parameters import Manifest, Parameters, check_added, check_same, check_version
from app.bench.presets import PRESETS, Preset
from app.bench.server import Server
from app.bench.sweeps import Kinds, expand
from app.settings import Settings
from models.attacks import ATTACKS
from models.checkpoints import digest
from models.defenses import DEFENSES
from models.evaluation import perceptual
from models.images import ImageError, ImageLimits
from workers.defaults import check_defaults
from workers.worker import pick_device

GALLERY = 3
NATIVE = "native"


@dataclass(frozen=True)
class Choices:
    """What the command was given; None: left out."""

    images: Path
    out: Path
    preset: str | None = None
    attacks: str | None = None
    defenses: str | None = None
    metrics: str | None = None
    adaptive: str | None = None
    size: str | None = None
    limit: int | None = None
    seed: int = 0
    samples: int = 1
    add: bool = False
    mos: Path | None = None
    """Table of opinions on the pictures, for the report."""
    command: str = ""
    """The command itself, for the report."""


def draft(choices: Choices, version: str, server: Server | None = None) -> Manifest:
    """Return what to do, without the pictures. Raises BenchError for what cannot be done; nothing is written.

    With `server` defenses are those that it can use, and it must score as this machine does.
    Raises ValueError too, with the variable's name, for a setting that is wrong.
    """
    settings, preset = Settings(), _preset(choices)
    if choices.metrics is None:
        check_defaults(settings)
    named = None if choices.metrics is None else split(choices.metrics)
    metrics = _found(find_metrics, named, settings.default_metric_names)
    to_attack: Callable[..., Found] = find_attacks
    to_defend: Callable[..., Found] = find_defenses
    if server:
        server.check(metrics.items, version)
        to_attack = functools.partial(find_attacks, availability=server.attack_availability)
        to_defend = functools.partial(find_defenses, availability=server.availability)
    attacks = _found(to_attack, _given(choices.attacks, ATTACKS), preset.attacks)
    defenses = _found(to_defend, _given(choices.defenses, DEFENSES), preset.defenses)
    is_all_ordered = server is not None and not server.attacks_here(attacks.items)
    pairs, impossible = pairing.pairs(
        attacks.items, metrics.items, {item.label for item in attacks.items if choices.attacks}
    )
    adaptive = pairing.adaptive(choices.adaptive, defenses.items, is_all_ordered=is_all_ordered)
    apart, unmoved = pairing.apart(attacks.items, [item for item in defenses.items if item.label in adaptive])
    measures = {name: perceptual.availability(called) for name, called in MEASURES.items()}
    parameters = Parameters(
        size=_size(choices.size, preset),
        seed=choices.seed,
        device=pick_device(settings.device),
        pictures=(),
        metrics=metrics.items,
        attacks=attacks.items,
        defenses=defenses.items,
        adaptive=adaptive,
        pairs=pairs,
        apart=apart,
        files={str(file): digest(file) for item in attacks.items for file in attack_of(item).files},
        measures=tuple(name for name, state in measures.items() if state.available),
        samples=choices.samples,
        gallery=GALLERY,
    )
    missing = [
        Skipped(kind="measure", name=name, reason=state.explanation)
        for name, state in measures.items() if not state.available
    ]  # fmt: skip
    skipped = (*missing, *attacks.skipped, *defenses.skipped, *metrics.skipped, *impossible, *unmoved)
    return Manifest(version=version, command=choices.command, parameters=parameters, skipped=skipped)


def settle(choices: Choices, drafted: Manifest) -> Manifest:
    """Return what to do with the pictures, once they and the manifest are in the folder `choices.out`.

    Raises BenchError if there are none that can be used, and if the folder holds a study with other parameters.
    """
    folder, parameters = Folder(choices.out), drafted.parameters
    check = check_added if choices.add else check_same
    before = folder.manifest()
    if before:
        check_version(before, drafted)
        parameters = parameters.model_copy(update={"measures": _as_before(before.parameters, parameters)})
        check(before.parameters, parameters.model_copy(update={"pictures": before.parameters.pictures}))

    known = {picture.key for picture in before.parameters.pictures} if before else set[str]()

    def keep(key: str, data: bytes) -> None:
        # one that no manifest tells of was left by a command that ended here, perhaps with another --size
        if key not in known or not folder.clean_picture(key).is_file():
            write_whole(folder.clean_picture(key), data)

    chosen, unusable = pictures.prepare(
        choices.images,
        out=choices.out,
        size=parameters.size,
        most=choices.limit or _preset(choices).images,
        seed=parameters.seed,
        limits=Settings().limits,
        check_size=_size_check(parameters),
        keep=keep,
    )
    parameters = parameters.model_copy(update={"pictures": chosen})
    if before:
        check(before.parameters, parameters)
    opinions = read_opinions(choices.mos, [picture.name for picture in chosen]) if choices.mos else {}
    manifest = drafted.model_copy(
        update={
            "parameters": parameters,
            "states": before.states if before else (),
            "skipped": (*drafted.skipped, *unusable),
            "opinions": opinions,
        }
    )
    folder.set_manifest(manifest)
    return manifest


def _as_before(before: Parameters, now: Parameters) -> tuple[str, ...]:
    """Return the learned distances of a study that was begun: weights that came later change nothing in it.

    Raises BenchError for weights that are gone.
    """
    for name in set(before.measures) - set(now.measures):
        cure = perceptual.availability(MEASURES[name]).explanation
        raise BenchError(f"the folder holds a study that measures {name}, which is not possible now: {cure}")
    return before.measures


def _preset(choices: Choices) -> Preset:
    if choices.preset is None:
        if choices.attacks is None or choices.defenses is None:
            raise BenchError(f"name --attacks and --defenses, or a --preset: {', '.join(PRESETS)}")
        return Preset(attacks=(), defenses=(), size=None)
    if choices.preset not in PRESETS:
        raise BenchError(f"there is no preset {choices.preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[choices.preset]


def _given(text: str | None, kinds: Kinds) -> list[str] | None:
    return None if text is None else expand(split(text), kinds)


def _found(find: Callable[..., Found], given: list[str] | None, usual: Sequence[str]) -> Found:
    return find(usual if given is None else given, is_preset=given is None)


def _size(given: str | None, preset: Preset) -> tuple[int, int] | None:
    if given is None:
        return preset.size
    if given == NATIVE:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", given)
    if not found:
        raise BenchError(f"--size is WIDTHxHEIGHT, such as 299x299, or {NATIVE}; got {given!r}")
    width, height = int(found[1]), int(found[2])
    try:
        ImageLimits().check_size(width, height)
    except ImageError as error:
        raise BenchError(f"--size {given}: {error}") from error
    return width, height


def _size_check(parameters: Parameters) -> Callable[[int, int], None]:
    smallest = max(attack_of(attack).min_side for attack in parameters.attacks)
    if parameters.measures:
        smallest = max(smallest, perceptual.MIN_SIDE)

    def check(height: int, width: int) -> None:
        for metric in parameters.metrics:
            metric_of(metric).check_size(height, width)
        if min(height, width) < smallest:
            raise ValueError(
                f"it is {width}x{height}; an attack or a measure needs at least {smallest} pixels per side"
            )

    return check
