"""The parameters of a study: all that its numbers depend on, kept beside them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.bench.items import BenchError, Item, Skipped
from models.noise import MAX_SEED
from workers.orders import MAX_SAMPLES


class Picture(BaseModel):
    """A picture of a study, which lies in its folder as an 8-bit PNG."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Of the file, below the folder of images.")
    key: str = Field(description="Its name here, without ending.")
    sha256: str = Field(description="Of the original file.")
    seed: int = Field(ge=0, le=MAX_SEED, description="For defenses and attacks, the same on clean and attacked pixels.")
    width: int
    height: int


class Pair(BaseModel):
    """An attack and the metric that it misleads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    metric: str


class Apart(BaseModel):
    """An attack that was made beforehand and does not go through the defense."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    defense: str = Field(description="`none`: the attack was made through one, and does not run without.")


class Parameters(BaseModel):
    """What a study does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] | None = Field(description="Width and height that pictures are brought to; null: their own.")
    seed: int = Field(ge=0, le=MAX_SEED)
    device: str
    pictures: tuple[Picture, ...]
    metrics: tuple[Item, ...]
    attacks: tuple[Item, ...]
    defenses: tuple[Item, ...]
    adaptive: tuple[str, ...] = Field(description="Labels of the defenses that are also attacked through.")
    pairs: tuple[Pair, ...] = Field(description="Which attack misleads which metric.")
    apart: tuple[Apart, ...] = Field((), description="Which attacks do not go through which defenses.")
    files: dict[str, str] = Field({}, description="sha256 of the files that attacks read, by path.")
    measures: tuple[str, ...] = Field(
        (), description="Learned distances that are measured too: their weights are here."
    )
    samples: int = Field(
        1, ge=1, le=MAX_SAMPLES, description="Seeds of a random defense whose median score counts, clean and attacked."
    )
    gallery: int = Field(ge=0, description="Of so many pictures the purified ones are kept.")


class Manifest(BaseModel):
    """What lies in a study's folder beside its results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    states: tuple[str, ...] = Field((), description="Digests of the code and weights that worked in it, each once.")
    command: str = Field(description="That made it, the last one.")
    parameters: Parameters
    skipped: tuple[Skipped, ...]
    opinions: dict[str, float] = Field({}, description="What people said of pictures, by name; of the last command.")


_LISTS = ("pictures", "metrics", "attacks", "defenses", "adaptive", "pairs", "apart")


def check_version(before: Manifest, now: Manifest) -> None:
    """Raise BenchError if a study was begun by another version, whose numbers could differ."""
    if before.version != now.version:
        raise BenchError(
            f"the folder holds a study by PurifIQA {before.version}, and this is {now.version}: numbers could differ. "
            "Name another --out"
        )


def check_same(before: Parameters, now: Parameters) -> None:
    """Raise BenchError that tells the differences unless both are the same."""
    old, new = before.model_dump(), now.model_dump()
    changed = [name for name in old if old[name] != new[name]]
    if changed:
        for cause, effect in (("seed", "pictures"), ("size", "pictures"), ("attacks", "pairs"), ("metrics", "pairs")):
            if cause in changed and effect in changed:
                changed.remove(effect)
        differences = "; ".join(f"{name} {_difference(old[name], new[name])}" for name in changed)
        raise BenchError(
            f"the folder holds a study with other parameters: {differences}. Name another --out, or the "
            "same parameters as before, or --add to extend the study with more images, attacks, defenses or metrics"
        )


def check_added(before: Parameters, now: Parameters) -> None:
    """Raise BenchError unless everything of before is there now, unchanged."""
    old, new = before.model_dump(), now.model_dump()
    for name in old:
        if name == "files":
            kept = old[name].items() <= new[name].items()
        else:
            kept = all(one in new[name] for one in old[name]) if name in _LISTS else old[name] == new[name]
        if not kept:
            difference = _difference(old[name], new[name])
            raise BenchError(f"--add only adds to what the folder holds, and this changes {name}: {difference}")


def _difference(old: Any, new: Any) -> str:
    if isinstance(old, list | tuple) and isinstance(new, list | tuple) and old and new and not isinstance(old[0], int):
        gone, come = [_name(one) for one in old if one not in new], [_name(one) for one in new if one not in old]
        parts = {
            "without": [name for name in gone if name not in come],
            "with": [name for name in come if name not in gone],
            "with another": [name for name in come if name in gone],
        }
        told = [f"{word} {', '.join(names[:5])}{_more(names)}" for word, names in parts.items() if names]
        return " and ".join(told) or "are in a different order"
    return f"was {_name(old)} and is {_name(new)}"


def _name(value: Any) -> str:
    if isinstance(value, dict):
        whom = value.get("metric") or value.get("defense")
        return str(value.get("label") or value.get("name") or f"{value.get('attack')} on {whom}")
    return "unset" if value in (None, ()) else str(value)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 5} more" if len(names) > 5 else ""
