"""Let the workers of a service attack, purify and score the pictures of a study; what they cannot is done here."""

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from app.bench import pool
from app.bench.folder import FailureRecord, Folder, NotKeptError, Record, UnscoredRecord
from app.bench.items import BenchError
from app.bench.ordering import NO_SCORE, order_attack, order_defense
from app.bench.perform import FAILURES, Ended
from app.bench.pool import CANNOT_KEEP, GO_ON
from app.bench.server import Server
from app.bench.units import ATTACK, Unit
from app.command.client import ServerError, StoppedError
from models.threads import one_thread

Tell = Callable[[Unit, Ended], None]
Say = Callable[[str], None]


def run(
    units: Iterable[Unit], orders: "Orders", device: str, jobs: int, tell: Tell, say: Say, deadline: float | None = None
) -> bool:
    """Do the units as `pool.run` does, but order from a service what it can do, and `say` what it cannot.

    `tell` is called from any thread, one at a time. Raises BenchError too if the service does not answer for long.
    """
    to_attack: list[Unit] = []
    whole: dict[str, Unit] = {}
    with orders.told_to(tell), one_thread():  # the comparisons, as in the processes of a study
        for unit in units:
            if orders.is_attacked_here(unit):
                whole[unit.place] = unit
                to_attack.append(unit.model_copy(update={"defenses": ()}))
            else:
                orders.take(unit)
        for line in _explained(to_attack, orders.here):
            say(line)

        def attacked(unit: Unit, ended: Ended) -> None:
            orders.tell(unit, ended)
            if not ended.failed:
                orders.take(whole[unit.place], first=True)
            orders.check()

        in_time = pool.run(to_attack, orders.folder.root, device, jobs, attacked, deadline)
        return orders.finish(deadline) and in_time


def _explained(units: Iterable[Unit], here: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each reason why attacks are not ordered."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for unit in units:
        if unit.attack:
            labels[here[unit.attack.label]].add(unit.attack.label)
    for reason, names in labels.items():
        yield f"attacked on this machine: {', '.join(sorted(names))}; {reason}"


class Orders:
    """Orders under way, at most `in_flight` at a time; each is kept as soon as it is done."""

    def __init__(self, server: Server, folder: Folder, in_flight: int, here: Mapping[str, str]) -> None:
        """`here`: the labels of the attacks that are not ordered, each with why."""
        self.folder, self.here = folder, here
        self._server = server
        self._threads = ThreadPoolExecutor(in_flight, "order")
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Unit, str]] = deque()
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

    def is_attacked_here(self, unit: Unit) -> bool:
        """Return whether an attack is to be done first that is not ordered."""
        return unit.attack is not None and unit.attack.label in self.here and ATTACK not in self.folder.finished(unit)

    def take(self, unit: Unit, *, first: bool = False) -> None:
        """Order what is not finished of a unit: its attack, and once that is done the rest.

        `first`: before all that waits, so that a study which is stopped has whole pictures.
        """
        finished = self.folder.finished(unit)
        steps = [(unit, step) for step in unit.steps if step not in finished]
        if steps and steps[0][1] == ATTACK:
            steps = steps[:1]
        if first:
            self._waiting.extendleft(reversed(steps))
        else:
            self._waiting.extend(steps)
        self._orders.extend(self._threads.submit(self._do_next) for _ in steps)

    def check(self) -> None:
        """Raise BenchError if the study cannot go on."""
        if self._broken:
            raise BenchError(self._broken)

    def finish(self, deadline: float | None) -> bool:
        """Wait until all is done; return False if the deadline, in seconds of `time.monotonic`, came first.

        Raises BenchError if the study cannot go on.
        """
        while waiting := [order for order in self._orders if not order.done()]:  # an attack that is done adds more
            self.check()
            if deadline is not None and time.monotonic() > deadline:
                return False
            wait(waiting, timeout=1, return_when=FIRST_EXCEPTION)
        for order in self._orders:
            order.result()
        self.check()
        return True

    def _do_next(self) -> None:
        unit, step = self._waiting.popleft()
        if self._broken:
            return
        start = time.perf_counter()
        try:
            record = self._record(unit, step)
            self.folder.append(unit, record)
            failed = isinstance(record, FailureRecord | UnscoredRecord)
            self.tell(unit, Ended(step, time.perf_counter() - start, failed))
            if step == ATTACK and not failed:
                self.take(unit, first=True)
        except StoppedError:
            pass
        except NotKeptError as error:
            self._broken = f"{CANNOT_KEEP}: {error}. {GO_ON}"
        except ServerError as error:
            self._broken = f"--server {self._server.url}: {error}. {GO_ON}"
        except BenchError as error:
            self._broken = str(error)

    def _record(self, unit: Unit, step: str) -> Record:
        """Return what became of a step. Raises errors that end the study."""
        try:
            if step == ATTACK:
                return order_attack(self._server, self.folder, unit)
            item = next(one for one in unit.defenses if one.label == step)
            return order_defense(self._server, self.folder, unit, item)
        except (BenchError, StoppedError):
            raise
        except ServerError as error:
            if error.is_about_the_server:
                raise
            why = f"server: {error}"[:1000]
            is_unscored = step == ATTACK and error.code in NO_SCORE
            return UnscoredRecord(why=why) if is_unscored else FailureRecord(step=step, why=why)
        except FAILURES as error:
            return FailureRecord(step=step, why=f"{type(error).__name__}: {error}"[:1000])
