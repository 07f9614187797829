"""Many image files, one order for all: in this process, or by a running service. A broken file stops no other."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.command.client import PATIENCE_SECONDS, WAIT_SECONDS, Client, ServerError
from app.command.files import FilesError, find_images, named_format, plan_outputs
from app.errors import ProblemError, invalid_fields
from app.orders import make_order
from app.schemas import PurifyForm, ScoreForm
from app.settings import Settings
from models.defense import PurificationError
from models.images import ImageError, ImageFormat, check
from models.metric import MetricError, MetricUnavailableError
from models.whole_files import write_whole
from workers.defaults import check_defaults
from workers.jobs import execute
from workers.worker import pick_device

EXPECTED = (
    ImageError, MetricError, MetricUnavailableError, OSError, ProblemError, PurificationError, ServerError,
)  # fmt: skip
"""What is wrong with one file, and no reason to stop."""

Answer = tuple[dict[str, Any], bytes | None]
"""A job document, as far as it is needed here, and the file that was made."""
Carrier = Callable[[str, bytes, dict[str, str]], Answer]


class Done(NamedTuple):
    """One file's answer."""

    file: Path
    output: Path | None
    seed: int
    defense: dict[str, Any]
    scores: list[dict[str, Any]]


@dataclass
class Results:
    """What became of every file."""

    done: list[Done] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    interrupted: bool = False


def run(
    kind: str,
    arguments: list[str],
    given: dict[str, str | None],
    seed: int | None,
    server: str | None,
    out: Path | None,
    in_flight: int = 1,
    tell: Callable[[Done], None] = lambda _: None,
) -> Results:
    """Carry out `kind` on every image that the arguments name, with a progress bar on a terminal.

    `given` are the fields of the form; None: left out, so that the service's default is used. A server has `in_flight`
    orders at a time. `tell` is called for each file that is done, in order, as soon as that is known.
    Ctrl-C ends it, and so does an error that would be the same for every file; what is done stays done and is returned.
    Raises FilesError for names that cannot be worked with, and for such an error, while nothing is done; ValueError,
    with the variable's name, for a default that does not exist.
    """
    fields = {name: value for name, value in given.items() if value is not None}
    if seed is not None:
        fields["seed"] = str(seed)
    if kind == "purify":
        fields["format"] = _format(fields.get("format"), out)
    if server is None and not {"defense", "metrics"} <= fields.keys():
        check_defaults(Settings())
    images, left_out = find_images(arguments, out)
    outputs = plan_outputs(images, out, ImageFormat(fields["format"]).suffix) if out else [None] * len(images)
    results = Results(failed=[(image.path, why) for image, why in left_out])

    def work(place: int) -> dict[str, Any]:
        job, file = carry(kind, images[place].path.read_bytes(), fields)
        if (output := outputs[place]) is not None and file is not None:
            write_whole(output, file)
        return job

    taken: set[int] = set()
    hopeless: tuple[int, Exception] | None = None

    def take(place: int, job: dict[str, Any]) -> None:
        taken.add(place)
        scores = job["result"]["scores"]
        results.done.append(Done(images[place].path, outputs[place], job["seed"], job["defense"], scores))
        tell(results.done[-1])

    with _carrier(server) as (carry, stop), progress_bar() as bar, _threads(in_flight if server else 1) as threads:
        task = bar.add_task(kind, total=len(images))
        orders = [threads.submit(work, place) for place in range(len(images))] if threads else []
        try:
            for place, image in enumerate(images):
                try:
                    job = orders[place].result() if orders else work(place)
                except EXPECTED as error:
                    if isinstance(error, ProblemError | ServerError) and error.is_about_the_order:
                        hopeless = (place, error)  # it would be the same for every file
                        break
                    results.failed.append((image.path, str(error)))
                else:
                    take(place, job)
                bar.advance(task)
        except KeyboardInterrupt:
            results.interrupted = True
        finally:
            if threads:
                stop()
                threads.shutdown(cancel_futures=True)
        for place, order in enumerate(orders):  # after an early end: what was done meanwhile
            if place not in taken and not order.cancelled() and order.exception() is None:
                take(place, order.result())
    if hopeless:
        place, why = hopeless
        if not results.done and not results.failed:
            raise FilesError(str(why)) from why
        left = sum(other not in taken for other in range(place + 1, len(images)))
        results.failed.append((images[place].path, without_the_rest(why, left)))
    return results


def without_the_rest(why: Exception, left: int) -> str:
    """Return what is told of the file whose error would be that of the `left` others too, which were not tried."""
    return f"{why}; the remaining {left} would fail the same way and were not tried" if left else str(why)


def _format(asked: str | None, out: Path | None) -> str:
    """The format asked for, or that of the file name given, or PNG."""
    named = named_format(out)
    if asked and named and asked != named:
        raise FilesError(f"{out}: this file name does not fit --format {asked}")
    return asked or named or "png"


@contextlib.contextmanager
def _carrier(server: str | None) -> Iterator[tuple[Carrier, Callable[[], None]]]:
    """Yield what carries an order out, and what makes orders under way in other threads end soon."""
    if server is None:
        yield _carry_out_here, lambda: None
        return
    with Client(server) as hasty:  # one that is down now is told now
        hasty.send("GET", "/livez")
    with Client(server, patience=PATIENCE_SECONDS, wait=WAIT_SECONDS) as client:
        yield client.order, client.stop


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor | None]:
    if count == 1:
        yield None
        return
    with ThreadPoolExecutor(count, "order") as threads:
        yield threads


def _carry_out_here(kind: str, data: bytes, fields: dict[str, str]) -> tuple[dict[str, Any], bytes | None]:
    settings = Settings()
    form_kind = PurifyForm if kind == "purify" else ScoreForm
    try:
        form = form_kind.model_validate(fields)
    except ValidationError as error:
        raise invalid_fields(error) from error
    order = make_order(form, check(data, settings.limits), settings, ImageFormat(fields.get("format", "png")))
    report, file = execute(order, data, limits=settings.limits, device=pick_device(settings.device))
    answer = {
        "seed": order.seed,
        "defense": order.defense.model_dump(mode="json"),
        "result": {"scores": [score.model_dump(mode="json") for score in report.scores]},
    }
    return answer, file


def progress_bar() -> Progress:
    """Return a bar on the terminal with the time left, gone when it is done; elsewhere one that says nothing."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
