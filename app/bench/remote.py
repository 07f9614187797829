"""Let the workers of a service purify and score the pictures of a study; attacks, which need gradients, run here."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import torch

from app.bench import pool
from app.bench.folder import DefenseRecord, FailureRecord, Folder, NotKeptError
from app.bench.items import BenchError, Item
from app.bench.measure import Purified, measure
from app.bench.perform import FAILURES, Ended
from app.bench.pool import CANNOT_KEEP, GO_ON
from app.bench.server import Server, check_version
from app.bench.units import ATTACK, Unit
from app.command.client import ServerError, StoppedError

Tell = Callable[[Unit, Ended], None]


def run(
    units: Iterable[Unit], orders: "Orders", device: str, jobs: int, tell: Tell, deadline: float | None = None
) -> bool:
    """Do the units as `pool.run` does, but what defenses have to do is ordered from a service.

    `tell` is called from any thread, one at a time. Raises BenchError too if the service does not answer for long.
    """
    to_attack: list[Unit] = []
    whole: dict[str, Unit] = {}
    with orders.told_to(tell), _one_thread():
        for unit in units:
            if unit.attack is None or ATTACK in orders.folder.finished(unit):
                orders.take(unit)
            else:
                whole[unit.place] = unit
                to_attack.append(unit.model_copy(update={"defenses": ()}))

        def attacked(unit: Unit, ended: Ended) -> None:
            orders.tell(unit, ended)
            if not ended.failed:
                orders.take(whole[unit.place])
            orders.check()

        in_time = pool.run(to_attack, orders.folder.root, device, jobs, attacked, deadline)
        return orders.finish(deadline) and in_time


class Orders:
    """Orders under way, at most `in_flight` at a time; each is kept as soon as it is done."""

    def __init__(self, server: Server, folder: Folder, in_flight: int) -> None:
        self.folder = folder
        self._server = server
        self._threads = ThreadPoolExecutor(in_flight, "order")
        self._lock = threading.Lock()
        self._orders: list[Future[None]] = []
        self._broken: str | None = None
        self._listener: Tell = lambda *_: None

    @contextlib.contextmanager
    def told_to(self, listener: Tell) -> Iterator[None]:
        """Call `listener` for every step that ended, from any thread; at the end give up what is left."""
        self._listener = listener
        try:
            yield
        finally:
            self._server.client.stop()
            self._threads.shutdown(cancel_futures=True)

    def tell(self, unit: Unit, ended: Ended) -> None:
        """Pass on that a step ended."""
        with self._lock:
            self._listener(unit, ended)

    def take(self, unit: Unit) -> None:
        """Order what is not finished of a unit, which is clean or has its attacked picture."""
        finished = self.folder.finished(unit)
        for item in unit.defenses:
            if item.label not in finished:
                self._orders.append(self._threads.submit(self._do, unit, item))

    def check(self) -> None:
        """Raise BenchError if the study cannot go on."""
        if self._broken:
            raise BenchError(self._broken)

    def finish(self, deadline: float | None) -> bool:
        """Wait until all is done; return False if the deadline, in seconds of `time.monotonic`, came first.

        Raises BenchError if the study cannot go on.
        """
        waiting = set(self._orders)
        while waiting:
            self.check()
            if deadline is not None and time.monotonic() > deadline:
                return False
            _, waiting = wait(waiting, timeout=1, return_when=FIRST_EXCEPTION)
        for order in self._orders:
            order.result()
        self.check()
        return True

    def _do(self, unit: Unit, item: Item) -> None:
        if self._broken:
            return
        start = time.perf_counter()
        try:
            record = self._record(unit, item)
            self.folder.append(unit, record)
            self.tell(unit, Ended(item.label, time.perf_counter() - start, isinstance(record, FailureRecord)))
        except StoppedError:
            pass
        except NotKeptError as error:
            self._broken = f"{CANNOT_KEEP}: {error}. {GO_ON}"
        except ServerError as error:
            self._broken = f"--server {self._server.url}: {error}. {GO_ON}"
        except BenchError as error:
            self._broken = str(error)

    def _record(self, unit: Unit, item: Item) -> DefenseRecord | FailureRecord:
        """Return what became of a step. Raises errors that end the study."""
        try:
            return self._order(unit, item)
        except (BenchError, StoppedError):
            raise
        except ServerError as error:
            if error.is_about_the_server:
                raise
            return FailureRecord(step=item.label, why=f"server: {error}"[:1000])
        except FAILURES as error:
            return FailureRecord(step=item.label, why=f"{type(error).__name__}: {error}"[:1000])

    def _order(self, unit: Unit, item: Item) -> DefenseRecord:
        image = self.folder.attacked_picture(unit) if unit.attack else self.folder.clean_picture(unit.picture.key)
        fields = {
            "defense": item.json_text,
            "metrics": ",".join(metric.label for metric in unit.metrics),
            "seed": str(unit.picture.seed),
            "format": "png",
        }
        job, file = self._server.client.order("purify", image.read_bytes(), fields)
        self._server.client.erase(job)
        if file is None:
            raise ValueError("the server gave no image")
        scores = {one["metric"]: one for one in job["result"]["scores"]}
        for metric in unit.metrics:
            check_version(self._server.url, metric, scores[metric.label])
        done = Purified(
            file,
            {metric.label: float(scores[metric.label]["defended"]) for metric in unit.metrics},
            job["timings_ms"]["purify"] / 1000,
        )
        return measure(unit, self.folder, item, self.folder.read_clean(unit), done)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compare images with one thread, as the processes of a study do: sums depend on it in their last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
