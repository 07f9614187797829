"""Warm decoder processes: each checks one file at a time, and one that a file kills takes only that file with it."""

import contextlib
import hashlib
import json
import logging
import os
import queue
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from app.decoding.child import REPLY, REQUEST
from models.images import (
    AnimatedImageError,
    BrokenImageError,
    ImageError,
    ImageFacts,
    ImageLimits,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
)

log = logging.getLogger("purifiqa.api")

FILES_PER_PROCESS = 1_000
WALL_PER_PROCESSOR_SECOND = 4  # on a busy machine; it also covers the start of the process
LONGEST_REPLY = 65_536
_WAITS = "RD"  # Linux: wants to run; waits for a disk
_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_REFUSALS = {
    kind.code: kind
    for kind in (
        AnimatedImageError, BrokenImageError, ImageTooLargeError, ImageTooSmallError, UnsupportedImageError,
    )
}  # fmt: skip


class UndecodableImageError(ImageError):
    """The decoder died of the file, or did not come to an end."""

    code = "image-undecodable"


class DecoderBusyError(RuntimeError):
    """The machine is too busy to check the file: it says nothing about the file."""


class _Refused(BaseModel):
    code: str
    detail: str = Field(max_length=2_000)
    limit: int | str | None = None
    actual: int | str | None = None


class _Decoder:
    """One process and our end of its socket."""

    def __init__(self, limits: ImageLimits, seconds: int) -> None:
        """Start the process. Raises DecoderBusyError if the system cannot, for want of memory, processes or files."""
        with contextlib.ExitStack() as unless_started:
            try:
                ours, theirs = socket.socketpair()
                unless_started.enter_context(ours)
                with theirs:
                    self.process = subprocess.Popen(
                        [sys.executable, "-P", "-m", "app.decoding.child", limits.model_dump_json(), str(seconds)],
                        stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                        start_new_session=True, env=_environment(),
                    )  # fmt: skip
            except OSError as error:
                log.warning("no decoder can be started: %s", error)
                raise DecoderBusyError from error
            unless_started.pop_all()
        self._socket = ours
        self.files = 0

    def ask(self, data: bytes, seconds: float) -> dict[str, Any]:
        """Return what the process says of a file. Raises OSError (also TimeoutError), EOFError, ValueError."""
        deadline = time.monotonic() + seconds
        self.files += 1
        self._socket.settimeout(seconds)
        self._socket.sendall(REQUEST.pack(len(data)))
        self._socket.sendall(data)
        [length] = REPLY.unpack(self._receive(REPLY.size, deadline))
        if length > LONGEST_REPLY:
            raise ValueError("the reply is too long")
        reply = json.loads(self._receive(length, deadline))
        if not isinstance(reply, dict):
            raise ValueError("the reply is not an object")
        return reply

    @property
    def is_starved(self) -> bool:
        """Whether it has work to do and waits for a processor or a disk, as opposed to being stuck or dead."""
        try:
            facts = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:  # it has died, or this system has no such file
            return False
        return facts.rpartition(")")[2].split()[0] in _WAITS

    def end(self) -> None:
        """Hang up, kill it if need be, and leave no zombie."""
        self._socket.close()
        self.process.kill()
        self.process.wait()

    def _receive(self, count: int, deadline: float) -> bytes:
        data = b""
        while len(data) < count:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._socket.recv(count - len(data))
            if not part:
                raise EOFError("the decoder has died")
            data += part
        return data


def _environment() -> dict[str, str]:
    """What a decoder may know of ours: no address, no password, no key."""
    return {**{name: os.environ[name] for name in _PASSED_ON if name in os.environ}, "OPENBLAS_NUM_THREADS": "1"}


class DecoderPool:
    """Checks files in at most as many processes as there are calls of `check` at the same time."""

    def __init__(self, limits: ImageLimits, seconds: int) -> None:
        """`seconds` of processor time are what one file may take."""
        self._limits, self._seconds = limits, seconds
        self._idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()

    def warm(self, count: int) -> None:
        """Start `count` processes without waiting until they are ready; what cannot be started now is when needed."""
        with contextlib.suppress(DecoderBusyError):
            for _ in range(count):
                self._idle.put(self._start())

    def check(self, data: bytes) -> ImageFacts:
        """Decode a file fully and return its facts; blocks. Raises ImageError, DecoderBusyError."""
        self._limits.check_bytes(len(data))
        decoder, survives = self._take(), False
        try:
            reply = decoder.ask(data, self._seconds * WALL_PER_PROCESSOR_SECOND)
            facts = _facts(reply, data)
            survives = True
        except ImageError:
            survives = True
            raise
        except TimeoutError as error:
            if decoder.is_starved:
                raise DecoderBusyError from error
            raise UndecodableImageError("the image could not be decoded") from error
        except (OSError, EOFError, ValueError) as error:
            raise UndecodableImageError("the image could not be decoded") from error
        finally:
            if survives and decoder.files < FILES_PER_PROCESS:
                self._idle.put(decoder)
            else:
                decoder.end()
                self.warm(1)
        return facts

    def close(self) -> None:
        """End all processes that are not at work."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().end()

    def _start(self) -> _Decoder:
        return _Decoder(self._limits, self._seconds)

    def _take(self) -> _Decoder:
        with contextlib.suppress(queue.Empty):
            while True:
                decoder = self._idle.get_nowait()
                if decoder.process.poll() is None:
                    return decoder
                decoder.end()
        return self._start()


def _facts(reply: dict[str, Any], data: bytes) -> ImageFacts:
    """Return the facts in a reply. It is not believed more than needed: a file may have taken its decoder over."""
    if "refused" in reply:
        try:
            refused = _Refused.model_validate(reply["refused"])
            kind = _REFUSALS[refused.code]
        except (ValidationError, KeyError) as error:
            raise ValueError("no such refusal") from error
        raise kind(refused.detail, limit=refused.limit, actual=refused.actual)
    facts = ImageFacts.model_validate(reply.get("facts"))
    return facts.model_copy(update={"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
