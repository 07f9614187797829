"""How the service is called: all of it on one machine (`purifiqa up`), or a process of it."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.cli.keys import keys_file
from app.cli.options import DATA_DIR, fail, said_plainly

LOG_FORMAT = "PURIFIQA_LOG_FORMAT"
HIGHEST_PORT = 65_535


def up(
    host: Annotated[str, typer.Option(envvar="PURIFIQA_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=HIGHEST_PORT, help="Port to listen on; 0: any free port.", show_default="PURIFIQA_PORT, or 8000"
        ),
    ] = None,
    data_dir: Annotated[
        Path,
        typer.Option(
            envvar="PURIFIQA_DATA_DIR",
            help="Folder for the queue, inputs and results.",
            readable=False,  # it is looked at below, and that is no wrong use of the command
        ),
    ] = DATA_DIR,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes, by default one per core.")] = os.cpu_count()
    or 1,
) -> None:
    """Run the whole service on this machine: an embedded Valkey, the API and workers. Ctrl-C stops it."""
    from app.command.parts import StartError
    from app.command.supervisor import Supervisor
    from app.guard.access import needs_keys

    _log()
    with said_plainly(os.EX_CONFIG, _end):
        needs_keys(os.environ.get("PURIFIQA_AUTH", "auto"), host, "", keys_file(data_dir))
    try:
        Supervisor(host, _port() if port is None else port, data_dir, workers).run()
    except StartError as error:
        _end(str(error), error.status)


def api() -> None:
    """Run one API process. PURIFIQA_* variables say where Redis is and which address to listen on."""
    from app.command.parts import StartError, check_address
    from app.main import create_app
    from app.server import serve
    from app.settings import Settings, unknown_variables
    from workers.telemetry import tracing

    with said_plainly(os.EX_CONFIG, _end):
        settings = Settings()
        tracing.configure("purifiqa-api")
        service = create_app(settings)
    _log(settings.log_level, settings.log_format)
    for line in unknown_variables(os.environ):
        logging.getLogger("purifiqa.api").warning(line)
    try:
        check_address(settings.host, settings.port, "check PURIFIQA_HOST and PURIFIQA_PORT")
    except StartError as error:
        _end(str(error), error.status)
    serve(service, settings)


def worker() -> None:
    """Run one worker process. PURIFIQA_* variables say where Redis is."""
    from workers.settings import WorkerSettings
    from workers.state.broker import BROKER_ERRORS, without_redis
    from workers.telemetry import tracing
    from workers.worker import context, serve

    with said_plainly(os.EX_CONFIG, _end):
        settings = WorkerSettings()
        _log(settings.log_level, settings.log_format)
        tracing.configure("purifiqa-worker")
        context()
    try:
        serve()
    except BROKER_ERRORS as error:
        _end(without_redis(error), 1)


def check() -> None:
    """Check the settings and Redis without starting anything. Exit with 0, or name the variable and exit as the API."""
    from app.main import create_app
    from app.settings import Settings, unknown_variables
    from workers.state.broker import BROKER_ERRORS, without_redis

    with said_plainly(os.EX_CONFIG, _end):
        service = create_app(Settings())
    for line in unknown_variables(os.environ):
        print(f"purifiqa: {line}", file=sys.stderr)
    try:
        service.state.services.queue.broker.ping()
    except BROKER_ERRORS as error:
        _end(without_redis(error), 1)
    print("the settings are valid, and Redis answers")


def health(
    url: Annotated[
        str | None, typer.Option(help="URL of the service.", show_default="by PURIFIQA_HOST and PURIFIQA_PORT")
    ] = None,
    worker: Annotated[bool, typer.Option("--worker", help="Check the workers in this container instead.")] = False,
) -> None:
    """Exit with 0 if the service is ready, else with 1 and the reason. For container health checks."""
    from app.command.health import check_service, check_worker, own_address

    wrong = check_worker() if worker else check_service(url or own_address())
    if wrong:
        fail(wrong)
    print("ready")


def _port() -> int:
    """Return the port that the environment names, or else 8000. What is wrong there is no wrong use of the command."""
    text = os.environ.get("PURIFIQA_PORT") or "8000"
    if not text.isdecimal() or int(text) > HIGHEST_PORT:
        _end(f"PURIFIQA_PORT: a port is a number from 0 to {HIGHEST_PORT}; it is {text[:80]!r}", os.EX_CONFIG)
    return int(text)


def _end(message: str, status: int) -> NoReturn:
    """Say why a process of the service cannot be, in the form of all that it says, and exit with the status."""
    from workers.telemetry import logs

    if os.environ.get(LOG_FORMAT) != "json":
        fail(message, status)
    logs.configure("ERROR", "json")
    logging.getLogger("purifiqa").error("%s", message)
    raise typer.Exit(status)


def _log(level: str = "INFO", form: str | None = None) -> None:
    from workers.telemetry import logs

    form = form or os.environ.get(LOG_FORMAT) or "text"
    if form not in ("json", "text"):
        fail(f"{LOG_FORMAT} is {form!r}; it must be json or text", os.EX_CONFIG)
    logs.configure(level, "json" if form == "json" else "text")
