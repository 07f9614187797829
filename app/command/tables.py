"""Tables for people."""

import os

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

NO_LIMIT = 10_000


def show(table: Table) -> None:
    """Print a table, fitted to a terminal; in a file or a pipe as wide as it needs, unless COLUMNS says otherwise."""
    for column in table.columns:
        column.overflow = "fold"  # a name or an address that is cut is of no use
    console = Console(markup=False, emoji=False, highlight=False)  # cells are names and commands, to be copied
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = Measurement.get(console, console.options.update(width=NO_LIMIT), table).maximum
    console.print(table)
