"""What a study comes to: which defenses win at what cost, and which fall once the attack knows them."""

import statistics
from collections.abc import Iterator, Sequence

from app.bench.cells import CLEAN, Cell
from app.bench.parameters import Parameters
from app.bench.report.markdown import NOTHING, shown, significant, table
from app.bench.report.summary import is_on_front, mean
from models.evaluation.bootstrap import Mean

COLLAPSED = 0.5
"""A defense collapses if attacks through it leave less than this share of what it took off the undefended Gain."""


def winners(cells: Sequence[Cell], parameters: Parameters, metric: str) -> Iterator[str]:
    """Yield every defense with what it takes and gives, and whether another one is better in both."""
    its = [cell for cell in cells if cell.metric == metric and not cell.adaptive]
    found: dict[str, tuple[Mean, Mean]] = {}
    for defense in parameters.defenses:
        attacked = [cell for cell in its if cell.defense == defense.label and cell.attack != CLEAN]
        gain, quality = mean(attacked, "gain"), mean(attacked, "aligned_quality")
        if gain and quality:
            found[defense.label] = gain, quality
    if len(found) < 2:
        return
    whole = {label: means for label, means in found.items() if means[0].n == max(gain.n for gain, _ in found.values())}
    yield "### Which defenses win, at what cost\n"
    yield "A defense is on the front if no other one is at least as good in both Gain and aligned quality and better"
    yield "in one. A dash (-): it was measured on fewer pictures than others. Only attacks that ignore the defense"
    yield "count here. **Movement** is |f(D(clean)) - f(D(attacked))| / |f(D(clean))|: what an attack still achieves if"
    yield "defended scores are compared with defended ones. PSNR and SSIM are aligned.\n"
    rows = []
    learned = [f"aligned_{name}" for name in parameters.measures]
    for label in sorted(found, key=lambda label: found[label][0].value):
        mine = [cell for cell in its if cell.defense == label]
        attacked = [cell for cell in mine if cell.attack != CLEAN]
        clean = [cell for cell in mine if cell.attack == CLEAN]
        shift = mean(clean, "clean_shift")
        size = [abs(cell.measures["clean_shift"]) for cell in clean if "clean_shift" in cell.measures]
        values = (
            shown(found[label][0]), shown(mean(attacked, "movement")),
            shown(found[label][1]), shown(mean(attacked, "aligned_psnr"), 2),
            shown(mean(attacked, "aligned_ssim")), shown(shift), f"{statistics.fmean(size):.3f}" if size else NOTHING,
            significant(statistics.median(cell.measures["ms"] for cell in mine), 3),
        )  # fmt: skip
        distances = [shown(mean(attacked, name)) for name in learned]
        front = NOTHING if label not in whole else "yes" if is_on_front(whole[label], whole.values()) else ""
        rows.append([label, *values, *distances, front, str(found[label][0].n)])
    header = ("defense", "Gain ↓", "movement ↓", "aligned quality ↑", "PSNR, dB ↑", "SSIM ↑", "clean shift",
              "its size ↓", "ms", *(f"{name.upper()} ↓" for name in parameters.measures), "front", "n")  # fmt: skip
    yield from table(header, rows)


def falls(cells: Sequence[Cell], parameters: Parameters, metric: str) -> Iterator[str]:
    """Yield, for every defense that was attacked through, its Gain before and after, on the same attacked pictures."""
    rows = []
    its = [cell for cell in cells if cell.metric == metric and cell.attack != CLEAN]
    for defense in parameters.defenses:
        through = [cell for cell in its if cell.adaptive and cell.defense == defense.label]
        plain = [cell for cell in its if not cell.adaptive]
        sides = on_the_same(through, _of(plain, defense.label), _of(plain, "none"))
        after, before, nothing = (mean(side, "gain") for side in sides)
        if not (after and before and nothing):
            continue
        took_off = nothing.value - before.value
        collapses = took_off > 0 and nothing.value - after.value < COLLAPSED * took_off
        defended = [mean(side, "movement") for side in sides[:2]]
        rows.append(
            [defense.label, shown(nothing), shown(before), shown(after), *map(shown, reversed(defended)),
             "yes" if collapses else "", str(after.n)]
        )  # fmt: skip
    if rows:
        yield "### Before and after the attack knows the defense\n"
        yield "A defense **collapses** if, once attacked through, it loses more than half of what it took off the"
        yield "undefended Gain. **Movement** is the change of the defended score, |f(D(clean)) - f(D(attacked))| /"
        yield "|f(D(clean))|: what the attack achieves whatever the defense does to clean pictures. A low Gain beside a"
        yield "high movement only means that the attack raises the score by about as much as the defense lowers it.\n"
        header = ("defense", "Gain undefended ↓", "Gain, attack ignores it ↓", "Gain, attack through it ↓",
                  "movement, ignores it ↓", "movement, through it ↓", "collapses", "n")  # fmt: skip
        yield from table(header, rows)


def on_the_same(*sides: Sequence[Cell]) -> list[list[Cell]]:
    """Return of each side the cells of pictures and attacks that every side has."""
    common = set.intersection(*({(cell.image, cell.attack) for cell in side} for side in sides))
    return [[cell for cell in side if (cell.image, cell.attack) in common] for side in sides]


def _of(cells: Sequence[Cell], defense: str) -> list[Cell]:
    return [cell for cell in cells if cell.defense == defense]
