"""Markdown tables, row by row as figures come; or the same rows, kept for JSON."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping

_names: list[str] = []
_kept: list[dict[str, object]] | None = None


def row(*cells: object) -> None:
    if _kept is not None:
        _kept.append(dict(zip(_names, cells, strict=True)))
    else:
        _print(cells)


def header(*cells: str) -> None:
    _names[:] = cells
    if _kept is None:
        _print(cells)
        print("|" + "---|" * len(cells))


@contextlib.contextmanager
def kept() -> Iterator[list[dict[str, object]]]:
    """Gather the rows meanwhile, by the names in their header, instead of printing them."""
    global _kept  # noqa: PLW0603 - tables are printed by functions that know nothing of it
    rows: list[dict[str, object]] = []
    _kept = rows
    try:
        yield rows
    finally:
        _kept = None


def show(about: Mapping[str, object], sections: Mapping[str, Callable[[], None]], *, as_json: bool) -> None:
    """Print what each section prints by `header` and `row` under its name as it comes, or all as one JSON object."""
    if as_json:
        found: dict[str, object] = {}
        for name, section in sections.items():
            with kept() as rows:
                section()
            found[name] = rows
        print(json.dumps({**about, **found}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    for name, section in sections.items():
        print(f"\n## {name}\n")
        section()


def _print(cells: tuple[object, ...]) -> None:
    words = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
    print("| " + " | ".join(words) + " |", flush=True)
