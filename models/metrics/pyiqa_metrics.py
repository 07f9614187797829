"""Every no-reference metric of pyiqa, by name. pyiqa itself is imported when one of them scores for the first time."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import math
import threading
import tomllib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only its error is wanted
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from models.availability import AVAILABLE, Availability, unavailable
from models.metric import Metric, MetricCard, MetricError, MetricUnavailableError
from models.tensors import lasting
from models.weights import OfflineError, Weight, careful_loading, from_home, move_libraries, offline

FACTS = Path(__file__).with_suffix(".toml")
LICENSE = "PolyForm-Noncommercial-1.0.0 (pyiqa, parts NTU S-Lab 1.0)"
INSTALL = "Run: pip install 'purifiqa[pyiqa]' (its license is noncommercial)"
CANNOT_LOAD = (  # not Exception: a job's timeout may arrive in the middle
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
_log = logging.getLogger(__name__)
_lock = threading.Lock()  # pyiqa sets cudnn's flags for the whole process, and some networks move themselves about
_networks: dict[tuple[str, torch.device], nn.Module] = {}
_MOST_NETWORKS = 8
"""Those used last are kept: whoever sends an order chooses which, and some take gigabytes."""


class Facts(BaseModel):
    """What the table beside this file says about one metric, its group included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str
    variant: str | None = Field(None, description="What sets it apart from its group, mostly what it was trained on.")
    source: str
    range: tuple[float, float] = Field(description="Lowest and highest score; infinite: unbounded.")
    range_is_exact: bool = False
    higher_is_better: bool = True
    differentiable: bool = True
    human_trained: bool = True
    min_side: int = 16
    side_multiple: int = 1
    max_aspect: int | None = None
    max_pixels: int | None = None
    preprocessing: str = "native"
    needs: tuple[Weight, ...] = ()
    module: str | None = Field(None, description="pyiqa's module of the network, where pyiqa would search them all.")
    imports: tuple[str, ...] = Field((), description="Modules it imports that pyiqa's own requirements may not bring.")
    one_by_one: bool = Field(False, description="Whether it takes no batch.")
    cuda: bool = Field(False, description="Whether it runs on CUDA only.")
    unusable: str | None = Field(None, description="Why no service can offer it.")


class PyiqaMetric(Metric):
    """A metric of pyiqa, with the facts that pyiqa does not tell."""

    def __init__(self, name: str, facts: Facts, version: str) -> None:
        self.name = name
        self.facts = facts
        self.card = MetricCard(
            name=f"pyiqa:{name}",
            summary=f"{facts.summary} ({facts.variant})" if facts.variant else facts.summary,
            range=tuple(bound if math.isfinite(bound) else None for bound in facts.range),  # type: ignore[arg-type]
            weights=tuple(weight.name for weight in facts.needs),
            version=version,
            license=f"{LICENSE}; weights: as their authors state" if facts.needs else LICENSE,
            **facts.model_dump(include=MetricCard.model_fields.keys() - {"summary", "range"}),
        )

    @classmethod
    def family(cls) -> Iterable[Self]:
        """Yield every no-reference metric of pyiqa, whether or not pyiqa is installed."""
        version = importlib.metadata.version("pyiqa") if _is_installed("pyiqa") else "(not installed)"
        for name, facts in read_facts().items():
            yield cls(name, facts, f"pyiqa {version}")

    def availability(self) -> Availability:
        """Return whether it can score: from files and packages as they are now, without importing pyiqa."""
        facts = self.facts
        if facts.unusable:
            return unavailable(facts.unusable, "Choose a metric that scores single images, such as piqe")
        if not _is_installed("pyiqa"):
            return unavailable("pyiqa is not installed", INSTALL)
        if lacking := [name for name in facts.imports if not _is_installed(name)]:
            return unavailable(f"{', '.join(lacking)} is not installed", "Run: pip install 'setuptools<81'")
        if facts.cuda and not torch.cuda.is_available():
            return unavailable("it needs CUDA", "Run it on a machine with an NVIDIA GPU")
        if missing := [weight for weight in facts.needs if not weight.path().is_file()]:
            names = ", ".join(f"{weight.name} (in {from_home(weight.path().parent)})" for weight in missing)
            return unavailable(f"weight files are missing: {names}", f"To get them, {_cures(missing)}")
        return AVAILABLE

    def score(self, images: Tensor) -> Tensor:
        """Return pyiqa's scores, float32 (N,). Raises MetricUnavailableError if it cannot be loaded."""
        alone = self.facts.one_by_one or self.facts.max_pixels is not None
        with _lock:
            network = self._network(images.device)
            parts = torch.split(images, 1 if alone else len(images))
            return torch.cat([self._forward(network, part) for part in parts])

    def _forward(self, network: nn.Module, images: Tensor) -> Tensor:
        # as_loss makes pyiqa turn gradients on: detached images keep no graph. A copy, for afine_nr writes into them.
        images = images.clone() if torch.is_grad_enabled() else images.detach().clone()
        try:
            with offline():
                scores: Tensor = network(images)
        except (AssertionError, OfflineError) as error:
            raise MetricError(f"{self.card.name} could not score the image: {error}") from error
        return scores.reshape(-1).float()

    def _network(self, device: torch.device) -> nn.Module:
        key = self.name, device
        network = _networks.pop(key) if key in _networks else self._load(device)
        _networks[key] = network  # now the last
        while len(_networks) > _MOST_NETWORKS:
            del _networks[next(iter(_networks))]
        return network

    def _load(self, device: torch.device) -> nn.Module:
        attempts: list[str] = []
        try:
            pyiqa = _import_pyiqa()
            with offline() as attempts:
                return _create(pyiqa, self.name, self.facts.module, device)
        except CANNOT_LOAD as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            told = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            reason = f"it tried to download {attempts[0]}" if attempts else f"it could not be loaded ({told})"
            cure = (
                f"Check that its weight files are complete; if not, {_cures(self.facts.needs)}"
                if self.facts.needs
                else INSTALL
            )
            raise MetricUnavailableError(self.card.name, unavailable(reason, cure)) from error


def read_facts() -> dict[str, Facts]:
    """Return the facts about every metric, by pyiqa's name for it."""
    table = tomllib.loads(FACTS.read_text(encoding="utf-8"))

    def weight(need: str) -> dict[str, str]:
        source, _, file = need.partition("/")
        folder, url = table["sources"][source].values()
        return {"folder": folder, "file": file, "url": url.format(file=file)}

    facts = {}
    for group in table["group"]:
        for name, entry in group.pop("metrics").items():
            needs = [weight(need) for need in group.get("needs", []) + entry.get("needs", [])]
            facts[name] = Facts.model_validate({**group, **entry, "needs": needs})
    return facts


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _cures(weights: Iterable[Weight]) -> str:
    return "; ".join(weight.cure() for weight in weights)


def _import_pyiqa() -> Any:
    move_libraries()
    with _hushed():
        pyiqa = importlib.import_module("pyiqa")
        importlib.import_module("pyiqa.utils.logger").get_root_logger()
    logger = logging.getLogger("pyiqa")
    logger.handlers.clear()  # it gives itself a handler and keeps its lines from everybody else's
    logger.propagate = True
    return pyiqa


def _create(pyiqa: Any, name: str, module: str | None, device: torch.device) -> nn.Module:
    with (
        _hushed(),
        careful_loading() as check,
        lasting(),
        torch.no_grad(),  # LIQE keeps text features that it makes here: a second backward would run through them
        torch.random.fork_rng(devices=[]),
    ):
        if module:
            importlib.import_module(f"pyiqa.archs.{module}_arch")
        metric: nn.Module = pyiqa.create_metric(
            name, device=device, as_loss=True, loss_reduction="none", check_input_range=False
        )
        check(metric)
    for part in metric.modules():
        listed = [value for held in vars(part).values() if isinstance(held, list) for value in held]
        for network in (part, *(value for value in listed if isinstance(value, nn.Module))):  # CLIP hides in lists
            network.eval()
            for parameter in network.parameters():
                parameter.requires_grad_(False)
    return metric


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Turn what is printed and warned into log lines."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for line in [*printed.getvalue().splitlines(), *(str(warning.message) for warning in caught)]:
                _log.debug(line)
