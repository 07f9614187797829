"""Markdown tables, row by row as figures come."""


def row(*cells: object) -> None:
    print(
        "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def header(*cells: str) -> None:
    row(*cells)
    print("|" + "---|" * len(cells))
