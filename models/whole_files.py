"""Files that are written whole or not at all."""

import contextlib
import uuid
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it; who writes the same one meanwhile is not in the way.

    Raises OSError, with the file that cannot be written, and then leaves nothing.
    """
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # the folder may be shut or no folder
            unfinished.unlink()
