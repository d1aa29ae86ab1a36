"""What operations and whole sessions cost in the gateway and in its database: CPU time, every commit durable.

Processes: an embedded chain, the gateway as `ws402 gateway` runs it, the load driver; on loopback. PostgreSQL is
measured too where DATABASE_URL names a server on this machine: in a database of its own, with the CPU of all of the
server's processes. `--against REV` measures that revision of this checkout in the same run, in turns: each figure is
the least of the rounds, each ratio the median of pairs that were measured one after the other. The baseline is the
least that a Litestar handler does with a typed JSON body.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.builds import Build, builds, comparison, turns
from bench.chain import CountingChain
from bench.counters import Processes, database_processes
from bench.ledger import fresh_database
from bench.program import Program, machine
from bench.running import Gateway, drive
from bench.waiting import measure_waiting, waiting_table

SCENARIOS: dict[str, tuple[str, int]] = {
    "generate": ("generate", 1),
    "verify": ("verify", 1),
    "accepted refund": ("refund", 1),
    "session, stock": ("stock-session", 1),
    "generate ×64": ("generate", 64),
    "verify ×64": ("verify", 64),
    "checkpoint ×64": ("checkpoint", 64),
    "settle ×64": ("settle", 64),
    "session, ours ×64": ("our-session", 64),
}
"""What is driven, and how many operations are in a call; in this order, for some go on where others ended."""

GOALS = {"generate": 0.7, "verify": 0.4, "verify ×64": 0.4, "accepted refund": 0.4}
SESSION_GOALS = {"session, stock": 0.5, "session, ours ×64": 0.5}

Figures = dict[str, dict[str, list[float]]]
"""By scenario and build: one figure a round (µs)."""


def measure(gateways: Sequence[Gateway], database: Processes, count: int, rounds: int) -> tuple[Figures, Figures]:
    """CPU of one operation: the gateway's, and the database's."""
    own: Figures = {name: {each.build.name: [] for each in gateways} for name in SCENARIOS}
    stored: Figures = {name: {each.build.name: [] for each in gateways} for name in SCENARIOS}
    for turn in range(rounds + 1):
        for name, (kind, batch) in SCENARIOS.items():
            for gateway in turns(gateways, turn):
                if kind in ("verify", "stock-session", "our-session"):
                    gateway.seed(count)
                before, stored_before = gateway.program.ns(), database.ns()
                gateway.drive(kind, count, batch)
                spent, stored_spent = gateway.program.ns() - before, database.ns() - stored_before
                if turn:  # the first round warms up
                    own[name][gateway.build.name].append(spent / count / 1000)
                    stored[name][gateway.build.name].append(stored_spent / count / 1000)
    return own, stored


def total(first: Figures, second: Figures) -> Figures:
    """Both together, round by round."""
    return {
        name: {build: [a + b for a, b in zip(runs, second[name][build], strict=True)] for build, runs in each.items()}
        for name, each in first.items()
    }


def measure_baseline(count: int) -> float:
    baseline = Program("-m", "bench.gateway_process", "baseline", "-", "-", "-", stdin=True)
    try:
        url = baseline.answer()["url"]
        spent = 0.0
        for _ in range(2):  # the first one warms up
            before = baseline.ns()
            drive(url, "-", "generate", count, 64, 1)
            spent = (baseline.ns() - before) / count / 1000
        return spent
    finally:
        baseline.stop()


@contextmanager
def ledgers(names: Sequence[Build], server: str | None, folder: Path) -> Iterator[list[str]]:
    """A fresh ledger for each build: on a PostgreSQL server, or in files."""
    with ExitStack() as stack:
        if server is None:
            yield [f"sqlite:///{folder}/{position}.db" for position, _ in enumerate(names)]
        else:
            yield [stack.enter_context(fresh_database(server)) for _ in names]


def compare(names: Sequence[Build], server: str | None, folder: Path, count: int, rounds: int) -> dict[str, Figures]:
    """All scenarios on one kind of ledger; prints its tables."""
    title = "PostgreSQL" if server else "SQLite"
    with ExitStack() as stack:
        chain = stack.enter_context(CountingChain())
        gateways = []
        for build, url in zip(names, stack.enter_context(ledgers(names, server, folder)), strict=True):
            gateways.append(Gateway(build, url, chain, folder))
            stack.callback(gateways[-1].close)
        own, stored = measure(gateways, database_processes(server), count, rounds)
    both = total(own, stored)
    print(comparison(f"{title}: CPU of the gateway (µs)", own, GOALS), end="\n\n")
    if server:
        print(comparison(f"{title}: CPU of its own processes (µs)", stored, {}), end="\n\n")
    print(comparison(f"{title}: both (µs)", both, SESSION_GOALS), end="\n\n", flush=True)
    return {"gateway_us": own, "database_us": stored}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench gateway", description=__doc__)
    parser.add_argument("--count", type=int, default=3200, help="operations of each kind in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", metavar="REV", help="a revision to measure beside this checkout")
    parser.add_argument("--only", choices=["sqlite", "postgresql", "waiting"], help="one part")
    parser.add_argument("--json", help="write the figures here too")
    chosen = parser.parse_args(arguments)
    server = os.environ.get("DATABASE_URL")
    parts = [chosen.only] if chosen.only else ["sqlite", *(["postgresql"] if server else []), "waiting"]
    result: dict[str, object] = {"machine": machine(), "count": chosen.count, "rounds": chosen.rounds}
    print(f"64 calls in flight (1 operation each) or 4 (64 operations each); {machine()}\n")
    with tempfile.TemporaryDirectory() as name, builds(chosen.against) as compared:
        folder = Path(name)
        if chosen.only is None:
            result["baseline_us"] = measure_baseline(chosen.count)
            print(f"baseline, a Litestar handler that echoes a typed body: {result['baseline_us']:.0f} µs\n")
        for part in parts:
            if part == "waiting":
                result[part] = figures = measure_waiting(compared, folder)
                print(waiting_table(figures))
                continue
            database = server if part == "postgresql" else None
            result[part] = compare(compared, database, folder, chosen.count, chosen.rounds)
    result["load"] = os.getloadavg()[0]
    print(json.dumps(result))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(result, indent=2))
