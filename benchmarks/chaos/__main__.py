"""`python -m benchmarks.chaos`: every trial, on services of its own that are killed and stopped on purpose."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.chaos import broker_outages, flood, killed_api, killed_workers, poison, soak
from benchmarks.chaos.site import Result, Site, site

Trial = tuple[str, Callable[[Site], Result], dict[str, Any]]


def trials(*, quick: bool, orders: int) -> list[Trial]:
    """Return the trials: a name, what is done to a service, and the service's settings."""
    outages = [("killed", 1), ("stopped", 5)] + ([] if quick else [("stopped", 40), ("frozen", 15)])
    jobs = 20 if quick else 100
    found: list[Trial] = [("workers", partial(killed_workers.run, jobs=jobs), {})]
    found += [(f"broker-{how}-{away}", partial(broker_outages.run, seconds=away, how=how), {}) for how, away in outages]
    found += [
        ("broker-lost", broker_outages.lost, {}),
        ("api", killed_api.run, {"workers": 1}),
        ("poison", poison.run, {"code": poison.WORKER}),
        ("flood", partial(flood.run, orders=10 if quick else 60), {"keys": flood.KEYS}),
        ("soak", partial(soak.run, jobs=orders), soak.SETTINGS),
    ]
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, shorter outages")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", help="comma list of trials")
    parser.add_argument("--orders", type=int, help="of the soak; 10000, with --quick 300")
    args = parser.parse_args()
    chosen = trials(quick=args.quick, orders=args.orders or (300 if args.quick else 10_000))
    if args.only:
        names = args.only.split(",")
        if unknown := set(names) - {name for name, _, _ in chosen}:
            parser.error(f"no such trials: {sorted(unknown)}; there are {[name for name, _, _ in chosen]}")
        chosen = [one for one in chosen if one[0] in names]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the parts of the service print is no part of the report
    results = []
    for name, trial, settings in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with site(**settings) as here:
            results.append(trial(here))
        print(results[-1], file=sys.stderr, flush=True)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    report = {"machine": machine, "date": time.strftime("%Y-%m-%d"), "trials": [asdict(one) for one in results]}
    if args.json:
        print(json.dumps(report, indent=2), file=out)
    else:
        print(f"{machine}, {report['date']}\n\n| trial | must hold | held | measured |\n|---|---|---|---|", file=out)
        for one in results:
            measured = "; ".join(f"{name}: {value}" for name, value in one.measured.items())
            print(f"| {one.trial} | {one.must_hold} | {'yes' if one.held else 'NO'} | {measured} |", file=out)
    out.close()
    sys.exit(0 if all(one.held for one in results) else 1)


if __name__ == "__main__":
    main()
