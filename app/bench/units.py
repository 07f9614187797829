"""The pieces of a study: one picture, attacked in one way or not at all, with every defense that looks at it."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from app.bench.items import Item, slug
from app.bench.parameters import Apart, Parameters, Picture

ATTACK = "attack"
"""The step that makes the attacked image; the other steps are the labels of defenses."""


class Unit(BaseModel):
    """A piece of work, done by one process; its results are one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    picture: Picture
    metrics: tuple[Item, ...]
    """Of an attack, the one that it misleads; of a clean picture, all."""
    attack: Item | None
    """None: the picture is clean."""
    through: Item | None
    """The defense that is attacked through; None: the attack knows of none."""
    defenses: tuple[Item, ...]
    samples: int = 1
    """Seeds of a random defense whose median score counts."""
    keeps_purified: bool = False
    measures: tuple[str, ...] = ()
    """Learned distances to measure."""

    @property
    def place(self) -> str:
        """Return where its files are, below the folders of each kind, without an ending."""
        if self.attack is None:
            return f"clean/{self.picture.key}"
        way = slug(self.attack.label) + (f"--through--{slug(self.through.label)}" if self.through else "")
        return f"{slug(self.metrics[0].label)}/{way}/{self.picture.key}"

    @property
    def steps(self) -> tuple[str, ...]:
        """Return what is to be done, in order."""
        return (*((ATTACK,) if self.attack else ()), *(defense.label for defense in self.defenses))

    def kind_of(self, step: str) -> str:
        """Return a name for steps that take about as long as this one."""
        if step == ATTACK and self.attack is not None:
            return f"{self.attack.label} through {self.through.label if self.through else 'nothing'}"
        return step


def units_of(parameters: Parameters) -> Iterator[Unit]:
    """Yield the pieces, picture by picture, so that a study that is stopped has whole pictures."""
    attacks = {attack.label: attack for attack in parameters.attacks}
    metrics = {metric.label: metric for metric in parameters.metrics}
    throughs = [defense for defense in parameters.defenses if defense.label in parameters.adaptive]
    for number, picture in enumerate(parameters.pictures):
        yield Unit(
            picture=picture, metrics=parameters.metrics, attack=None, through=None,
            defenses=parameters.defenses, measures=parameters.measures, samples=parameters.samples,
        )  # fmt: skip
        shown = number < parameters.gallery
        for pair in parameters.pairs:
            attack, metric = attacks[pair.attack], (metrics[pair.metric],)
            if Apart(attack=attack.label, defense="none") not in parameters.apart:
                yield Unit(
                    picture=picture, metrics=metric, attack=attack, through=None,
                    defenses=parameters.defenses, keeps_purified=shown, measures=parameters.measures,
                    samples=parameters.samples,
                )  # fmt: skip
                shown = False
            for defense in throughs:
                if Apart(attack=attack.label, defense=defense.label) in parameters.apart:
                    continue
                yield Unit(
                    picture=picture, metrics=metric, attack=attack, through=defense,
                    defenses=(defense,), measures=parameters.measures, samples=parameters.samples,
                )  # fmt: skip
