"""How `purifiqa keys` is called: make, list and revoke API keys. A service that asks for keys notices at once."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DATA_DIR, JsonOption, fail, said_plainly
from app.guard.access import KEYS_FILE

keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys. The service stores only their hashes.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Who or what uses the key; its jobs belong to this name.")]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="PURIFIQA_API_KEYS_FILE",
        help="The key file.",
        show_default="`api-keys` in PURIFIQA_DATA_DIR",
    ),
]


def keys_file(data_dir: Path | None = None) -> Path:
    """Return the key file that the environment names, or else the one in the data folder."""
    named = os.environ.get("PURIFIQA_API_KEYS_FILE")
    return Path(named) if named else (data_dir or Path(os.environ.get("PURIFIQA_DATA_DIR") or DATA_DIR)) / KEYS_FILE


@keys.command()
def new(
    name: Name,
    scopes: Annotated[str, typer.Option(help="Comma list of submit, read, metrics, admin.")] = "submit,read",
    file: FileOption = None,
    print_only: Annotated[
        bool, typer.Option("--print-only", help="Leave the file as it is, and also print the line to add to it.")
    ] = False,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    from app.guard.keys import changing, new_key, read_lines, write_file

    place, is_first = file or keys_file(), False
    with said_plainly():
        key, stored = new_key(name, scopes.split(","))
        if not print_only:
            with changing(place):
                is_first = not place.exists()
                write_file(place, [*([] if is_first else read_lines(place)), stored])
    print(key)
    if is_first:
        print(
            f"created {place}: a service that runs without keys will require them after its next start", file=sys.stderr
        )
    if print_only:
        print(stored.line)


@keys.command("list")
def list_keys(file: FileOption = None, as_json: JsonOption = False) -> None:
    """List keys: their names, scopes, and the start of their hashes."""
    import json

    from app.guard.keys import read_file

    place = file or keys_file()
    with said_plainly():
        found = read_file(place) if place.exists() else []
    if not found and not as_json:
        print(f"there are no keys in {place}", file=sys.stderr)
    if as_json:
        print(json.dumps([{"id": one.id, "scopes": sorted(one.scopes), "hash": one.hash} for one in found]))
        return
    for one in found:
        print(f"{one.id}\t{','.join(sorted(one.scopes))}\t{one.hash[:12]}")


@keys.command()
def revoke(
    name: Name,
    hash_prefix: Annotated[str, typer.Option("--hash", help="Revoke only the key whose hash begins with this.")] = "",
    file: FileOption = None,
) -> None:
    """Revoke the keys of a name. A running service refuses them from the next request on."""
    from app.guard.keys import StoredKey, changing, read_lines, write_file

    place = file or keys_file()
    with said_plainly():
        if not place.exists():
            fail(f"there is no such key in {place}")
        with changing(place):
            before = read_lines(place)
            kept = [
                one
                for one in before
                if not isinstance(one, StoredKey) or one.id != name or not one.hash.startswith(hash_prefix)
            ]
            if len(kept) == len(before):
                fail(f"there is no such key in {place}")
            write_file(place, kept)
    print(f"{len(before) - len(kept)} revoked")
