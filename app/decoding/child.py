"""`python -m app.decoding.child`: one decoder. It reads image files from a socket and answers in JSON.

It imports neither torch nor the service, has no secrets in its environment, and may neither write files, start
processes nor use more memory and processor time than `confine` says. It ends when its parent hangs up.
"""

import contextlib
import json
import resource
import socket
import struct
import sys
from typing import Any

from models.image_files.limits import ImageError, ImageLimits
from models.image_files.reading import check

REQUEST, REPLY = struct.Struct("!Q"), struct.Struct("!I")
"""Both ways a length comes first: of the file, of the JSON."""

BASE_MEMORY = 512 << 20
"""Bytes of address space for Python and the libraries, which map more than they use."""
BYTES_PER_PIXEL = 16
"""Most that a decoder needs beside the file: WebP holds the pixels several times over."""


def confine(limits: ImageLimits) -> None:
    """Give up what a decoder does not need, for good."""
    space = BASE_MEMORY + 2 * limits.max_bytes + BYTES_PER_PIXEL * limits.max_pixels
    for what, most in (
        (resource.RLIMIT_AS, space), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 0),
    ):  # fmt: skip
        _, hardest = resource.getrlimit(what)
        bound = most if hardest == resource.RLIM_INFINITY else min(most, hardest)
        resource.setrlimit(what, (bound, bound))


def answer(data: bytes, limits: ImageLimits) -> dict[str, Any]:
    """Return `{"facts": ...}`, or `{"refused": ...}` with the error's code, words, limit and actual."""
    try:
        return {"facts": check(data, limits).model_dump(mode="json")}
    except ImageError as error:
        return {"refused": {"code": error.code, "detail": str(error), "limit": error.limit, "actual": error.actual}}


def receive(connection: socket.socket, count: int) -> bytes:
    """Return exactly `count` bytes. Raises EOFError if the other side hangs up first."""
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        got = connection.recv_into(view[done:])
        if not got:
            raise EOFError
        done += got
    return bytes(data)


def main() -> None:
    """Serve the socket that is the standard input. Arguments: the limits as JSON, and processor seconds per file."""
    limits, seconds = ImageLimits.model_validate_json(sys.argv[1]), int(sys.argv[2])
    confine(limits)
    with socket.socket(fileno=0) as connection, contextlib.suppress(EOFError, ConnectionError):
        while True:
            [count] = REQUEST.unpack(receive(connection, REQUEST.size))
            used = resource.getrusage(resource.RUSAGE_SELF)
            _, hardest = resource.getrlimit(resource.RLIMIT_CPU)
            until = int(used.ru_utime + used.ru_stime) + 1 + seconds
            resource.setrlimit(resource.RLIMIT_CPU, (until, hardest))
            reply = json.dumps(answer(receive(connection, count), limits)).encode()
            connection.sendall(REPLY.pack(len(reply)) + reply)


if __name__ == "__main__":
    main()
