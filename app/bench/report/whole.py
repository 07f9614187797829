"""What a study found, as `report.md` and as `report.html`, one file with all pictures in it."""

import importlib.util
import statistics
import textwrap
from collections.abc import Iterator, Sequence

from app.bench.cells import Failure, Findings
from app.bench.folder import Folder, write_whole
from app.bench.items import attack_of
from app.bench.parameters import Manifest
from app.bench.presets import group_of
from app.bench.report import agreements, beside_the_paper, cheats, checks, doubts, summary, wins
from app.bench.report.html import to_html
from app.bench.report.markdown import NOTHING, number, picture, plain, shown, significant, table
from app.bench.report.summary import Row
from app.bench.sweeps import curves
from models.attack_checks import PAGE
from models.metric import MetricCard
from models.metrics import find_metric

FEW = 20
"""With fewer pictures than this, the report says that intervals are too narrow."""
HEADER = (
    "defense", "Gain ↓", "aligned quality ↑", "quality ↑", "similarity ↑", "clean shift", "clean aligned quality ↑",
    "SROCC clean ↑", "SROCC attacked ↑", "ms", "n",
)  # fmt: skip
NOTES = """\
Values are means over pictures and attacks unless noted. Brackets: 95 % confidence intervals (bootstrap over pictures).

- **Gain** is |f(clean) - f(defended attacked)| / |f(clean)|, where f is the metric. 0 means that the defense undid
  the attack.
- **Quality** is (SSIM + PSNR/80)/2 of the defended attacked pixels, compared with the clean ones. **Aligned quality**
  is the same after geometric changes, such as a flip, are undone, over the pixels that are left.
- **Similarity** is SSIM + PSNR/40.
- **Clean shift** is how much the defense changes the score of an unattacked picture, relative to that score.
- **SROCC** is how well the defended scores rank the pictures like the undefended scores of the clean ones; 1 is best.
- **ms** is the median time per picture of one process with one thread.
- **n** is the number of attacked pictures behind the Gain. A dash (-) means that nothing was measured.

↓: lower is better; ↑: higher is better. `none` is no defense, red in the plots. Identical pictures count as 150 dB of
PSNR, which makes a quality of 1.438. docs/evaluation.md explains every number, docs/defenses.md every defense."""


def write(manifest: Manifest, findings: Findings, folder: Folder) -> None:
    """Write plots and both reports. Raises NotKeptError."""
    text = "\n".join(_text(manifest, findings, folder)) + "\n"
    write_whole(folder.root / "report.md", text.encode())
    if importlib.util.find_spec("markdown_it"):
        write_whole(folder.root / "report.html", to_html(text, folder.root).encode())


def _text(manifest: Manifest, findings: Findings, folder: Folder) -> Iterator[str]:
    parameters = manifest.parameters
    size = (
        "at their original size" if parameters.size is None else f"of {parameters.size[0]}x{parameters.size[1]} pixels"
    )
    yield "# Defenses against attacks on image-quality metrics\n"
    yield f"{len(parameters.pictures)} pictures {size}, {len(parameters.attacks)} attacks,"
    yield f"{len(parameters.defenses) - 1} defenses, {len(parameters.metrics)} metrics; seed {parameters.seed},"
    if parameters.samples > 1:
        yield f"random defenses scored by the median of {parameters.samples} seeds;"
    yield f"{parameters.device}, PurifIQA {manifest.version}. All parameters are in `manifest.json`, all measures in"
    yield f"`results.csv`. Command:\n\n{textwrap.indent(manifest.command, '    ')}\n"
    if findings.done < findings.steps:
        yield f"**Incomplete: {findings.done} of {findings.steps} steps are done.** Means are over these.\n"
    if len(manifest.states) > 1:
        yield f"**Made with {len(manifest.states)} states of the code or the weights** ({', '.join(manifest.states)}):"
        yield "results of different states may not be comparable.\n"
    yield NOTES + "\n"
    if 1 < len(parameters.pictures) < FEW:
        yield f"**With only {len(parameters.pictures)} pictures, intervals are too narrow:** they hold the true mean"
        yield "in fewer than 95 of 100 studies. docs/evaluation.md says in how many.\n"
    for metric in parameters.metrics:
        yield from _metric(manifest, findings, folder, metric.label)
    yield from _doubts(manifest, findings)
    yield from _gallery(manifest, folder)
    yield from _left_out(manifest, findings)


def _metric(manifest: Manifest, findings: Findings, folder: Folder, metric: str) -> Iterator[str]:
    parameters, cells = manifest.parameters, findings.cells
    if not any(pair.metric == metric for pair in parameters.pairs):
        return
    yield f"## {metric}\n"
    yield _told(find_metric(metric).card)
    for adaptive in (False, True):
        rows = [row for row in summary.rows(cells, parameters, metric, adaptive=adaptive) if _has_any(row)]
        if not rows:
            continue
        if adaptive:
            yield "### Adaptive attacks: they go through the defense\n"
        else:
            yield "### Non-adaptive attacks: they ignore the defense\n"
        yield from table(HEADER, [_cells_of(row) for row in rows])
        yield from _groups(manifest, findings, metric, adaptive=adaptive)
        yield from _plots(manifest, findings, folder, metric, rows, adaptive=adaptive)
    yield from _attacks(manifest, findings, metric)
    yield from agreements.agreements(manifest, cells, metric)
    yield from _cheats(manifest, findings, folder, metric)
    yield from _checks(manifest, findings, folder, metric)
    yield from wins.winners(cells, parameters, metric)
    yield from wins.falls(cells, parameters, metric)
    yield from beside_the_paper.comparison(cells, parameters, metric)


def _told(card: MetricCard) -> str:
    """Return what must be known to read scores of a metric."""
    low, high = ("open" if bound is None else f"{bound:g}" for bound in card.range)
    customary = "" if card.range_is_exact else ", but single scores may lie outside"
    return f"{'Higher' if card.higher_is_better else 'Lower'} scores are better; range {low} to {high}{customary}.\n"


def _cheats(manifest: Manifest, findings: Findings, folder: Folder, metric: str) -> Iterator[str]:
    found = cheats.standings(manifest, findings.cells, metric)
    yield from cheats.cheats(found, cheats.unmade(manifest, findings.cells, metric))
    points = [(one.defense, one.climb, one.honest) for one in found if one.honest]
    if len(points) > 1 and importlib.util.find_spec("matplotlib"):
        from app.bench.report import plots

        title, file = plots.draw_cheats(folder.root, metric, points)
        yield picture(title, file.relative_to(folder.root))


def _checks(manifest: Manifest, findings: Findings, folder: Folder, metric: str) -> Iterator[str]:
    found = checks.checks(manifest, findings.cells, metric)
    yield from checks.section(found)
    if found and importlib.util.find_spec("matplotlib"):
        from app.bench.report import shifts

        title, file = shifts.draw_shifts(folder.root, metric, found)
        yield picture(title, file.relative_to(folder.root))


def _groups(manifest: Manifest, findings: Findings, metric: str, *, adaptive: bool) -> Iterator[str]:
    found = summary.grouped(findings.cells, manifest.parameters, metric, adaptive=adaptive, by_group=True)
    if len(found) < 2:
        return
    made = {cell.attack for cell in findings.cells if (cell.metric, cell.adaptive) == (metric, adaptive)}
    members: dict[str, list[str]] = {}
    for label in (attack.label for attack in manifest.parameters.attacks if attack.label in made):
        members.setdefault(group_of(label.partition("(")[0]), []).append(label)
    labels = [one.label for one in manifest.parameters.defenses if any(one.label in means for means in found.values())]
    told = [f"{group} = {', '.join(members[group])}" for group in found if members[group] != [group]]
    yield f"Gain (lower is better) by group of attacks{': ' if told else ''}{plain('; '.join(told))}.\n"
    yield from table(
        ("defense", *found), [[label, *(shown(means.get(label)) for means in found.values())] for label in labels]
    )


def _attacks(manifest: Manifest, findings: Findings, metric: str) -> Iterator[str]:
    """The attacks themselves: what they do to an undefended score, and what they cost."""
    rows = []
    for attack in manifest.parameters.attacks:
        its = [
            cell for cell in findings.cells
            if (cell.metric, cell.attack, cell.defense) == (metric, attack.label, "none") and not cell.adaptive
        ]  # fmt: skip
        means = [summary.mean(its, name) for name in ("gain", "psnr", "ssim", "linf", "queries")]
        if means[0] is not None:
            plain = [NOTHING if mean is None else significant(mean.value, 4) for mean in means[1:]]
            time = significant(statistics.median(cell.measures["attack_ms"] for cell in its), 4)
            sign = attack_of(attack).goal.sign(find_metric(metric))
            its_way = statistics.fmean(sign * (one.measures["score"] - one.measures["clean_score"]) > 0 for one in its)
            rows.append([attack.label, shown(means[0]), f"{its_way:.0%}", *plain, time, str(means[0].n)])
    if rows:
        yield "### The attacks, undefended\n"
        yield "How much each attack changes the undefended score (a higher Gain is a stronger attack), and at what"
        yield "cost: PSNR and SSIM of the attacked pictures, the largest change of a value in 8-bit levels, the number"
        yield "of queries to the metric, and the median milliseconds per picture. Gain has no direction: *its way* is"
        yield "the share of pictures whose claimed quality moved in the direction that the attack wanted.\n"
        header = ("attack", "Gain", "its way", "PSNR, dB", "SSIM", "largest change, levels", "queries", "ms", "n")
        yield from table(header, rows)


def _plots(
    manifest: Manifest, findings: Findings, folder: Folder, metric: str, rows: Sequence[Row], *, adaptive: bool
) -> Iterator[str]:
    if importlib.util.find_spec("matplotlib") is None:
        yield "No plots: matplotlib is not installed (`pip install 'purifiqa[bench]'`).\n"
        return
    from app.bench.report import plots

    parameters = manifest.parameters
    found = summary.grouped(findings.cells, parameters, metric, adaptive=adaptive, by_group=False)
    sweeps = plots.Sweeps(curves(parameters.attacks), curves(parameters.defenses))
    order = [row.defense for row in rows if row.gain is not None]
    for title, file in plots.draw(folder.root, metric, rows, found, order, sweeps, adaptive=adaptive):
        yield picture(title, file.relative_to(folder.root))


def _doubts(manifest: Manifest, findings: Findings) -> Iterator[str]:
    found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for metric, attack, through, code, why in doubts.doubts(manifest.parameters, findings.cells):
        found.setdefault((metric, through, code), []).append((attack, why))
    if found:
        yield "## Doubts\n"
        yield "Reasons why an attack may be weaker than it could be, so that a defense looks better, or why a number"
        yield f"may mean nothing. What each doubt means, and what to do: {PAGE}#doubts.\n"
        rows = []
        for (metric, through, code), cases in found.items():
            attacks = ", ".join(attack for attack, _ in cases)
            reasons = list(dict.fromkeys(why for _, why in cases))
            why = reasons[0] if len(reasons) == 1 else f"{cases[0][0]}: {reasons[0]}; others are similar"
            rows.append([metric, through, code, attacks, why])
        yield from table(("metric", "through", "doubt", "attacks", "why"), rows)


def _gallery(manifest: Manifest, folder: Folder) -> Iterator[str]:
    if importlib.util.find_spec("matplotlib") is None:
        return
    from app.bench.report import gallery

    sheets = list(gallery.sheets(manifest.parameters, folder))
    if sheets:
        yield "## Pictures\n"
        yield "Above: as the metric sees it. Below: the difference to the clean picture, amplified ten times, geometric"
        yield "changes undone.\n"
    for title, file in sheets:
        yield picture(title, file.relative_to(folder.root))


def _left_out(manifest: Manifest, findings: Findings) -> Iterator[str]:
    if manifest.skipped:
        pictures = sum(one.kind == "image" for one in manifest.skipped)
        yield f"## Skipped{f' ({pictures} pictures)' if pictures else ''}\n"
        yield from table(("what", "name", "why"), [[one.kind, one.name, one.reason] for one in manifest.skipped])
    if findings.failures:
        yield f"## Failed ({len(findings.failures)} steps)\n"
        yield from _reasons(findings.failures)
    if findings.unscored:
        yield f"## Without a score ({len(findings.unscored)})\n"
        yield from _reasons(findings.unscored)


def _reasons(failures: Sequence[Failure]) -> Iterator[str]:
    """Yield a row for each step and reason: the first place, and how many more there are."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in failures:
        places.setdefault((one.step, one.why), []).append(one.place)
    rows = [
        [f"{first}{f' and {len(others)} more' if others else ''}", step, why]
        for (step, why), (first, *others) in places.items()
    ]
    yield from table(("where", "step", "why"), rows)


def _has_any(row: Row) -> bool:
    return any(value is not None for value in row[1:])


def _cells_of(row: Row) -> list[str]:
    plain = [NOTHING if value is None else number(value) for value in (row.srocc_clean, row.srocc_attacked)]
    means = [row.gain, row.aligned_quality, row.quality, row.similarity, row.clean_shift, row.clean_quality]
    time = NOTHING if row.milliseconds is None else significant(row.milliseconds, 3)
    return [row.defense, *map(shown, means), *plain, time, str(row.gain.n if row.gain else 0)]
