"""What a session costs on one WS402 server: CPU time of the server's process alone, and resident memory.

Three processes: a gateway (`ws402.testing`'s mock over HTTP: the real API without chain and ledger), the server, the
driver. The same run measures the floor (`bench.bare`), a plain ASGI server (`bench.asgi`) and, with `--against REV`,
that revision of this checkout. With `--repeat`, each figure is the least of the runs, and each ratio the median of
pairs: what other programs on the machine add is no cost of ours. Everything stays on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.builds import HERE, Build, builds, ratio, turns
from bench.program import Program, free_port, machine, raise_file_limit

GOALS = {"open_us": 250, "update_us": 12, "close_us": 100, "kib_per_session": 10, "tasks_per_session": 0}
NAMES = {
    "open_us": "open, gateway link included (µs)",
    "update_us": "usage update (µs)",
    "update_checkpoint_us": "usage update, checkpoints included (µs)",
    "close_us": "close, settlement included (µs)",
    "kib_per_session": "resident memory a session (KiB)",
    "tasks_per_session": "tasks a session",
}


RATIO_GOALS = {"open_us": 0.75, "close_us": 0.75, "kib_per_session": 0.8}
"""Against the revision that is compared with."""


@dataclass(frozen=True)
class Column:
    """What is measured: a kind of server, whose build it is of, and how many sessions it holds."""

    kind: str
    build: Build
    sessions: int

    @property
    def name(self) -> str:
        return f"{self.build.name if self.kind == 'ws402' else self.kind}, {self.sessions}"


def measure(column: Column, seconds: float, gateway: str, key: str) -> dict[str, float]:
    """Two servers: one with checkpoints every 5 s, as by default, and one without, which shows updates alone."""
    figures = _measure(column, seconds, gateway, key, checkpoint_seconds=86_400)
    if column.kind != "bare":
        with_checkpoints = _measure(column, seconds, gateway, key, checkpoint_seconds=5)
        figures["update_checkpoint_us"] = with_checkpoints["update_us"]
    return figures


def _measure(column: Column, seconds: float, gateway: str, key: str, *, checkpoint_seconds: float) -> dict[str, float]:
    kind, sessions = column.kind, column.sessions
    server = Program(
        "-m", "bench.serve", "--kind", kind, "--gateway", gateway, "--key", key,
        "--checkpoint-seconds", str(checkpoint_seconds), build=column.build,
    )  # fmt: skip
    driver = None
    try:
        port = server.answer()["port"]
        driver = Program("-m", "bench.driver", str(port), gateway, key, stdin=True)
        driver.tell(f"prepare {min(500, sessions)}")  # warm up: code, connections, allocator
        driver.tell("open")
        driver.tell("close")
        driver.tell(f"prepare {sessions}")
        server.settle()
        tasks, memory, began = server.report()["tasks"], server.rss(), server.ns()
        driver.tell("open")
        opened = server.ns() - began
        time.sleep(0.5)
        held, report = server.rss(), server.report()
        began = server.ns()
        updates = driver.tell(f"stay {seconds}")["updates"]
        updating = server.ns() - began
        began = server.ns()
        driver.tell("close")
        server.settle()
        closed = server.ns() - began
        assert report["live"] == sessions, report
        assert server.report()["live"] == 0
        return {
            "open_us": opened / sessions / 1000,
            "update_us": updating / updates / 1000,
            "close_us": closed / sessions / 1000,
            "kib_per_session": (held - memory) / sessions / 1024,
            "tasks_per_session": (report["tasks"] - tasks) / sessions,
        }
    finally:
        if driver is not None:
            driver.stop()
        server.stop()


def table(columns: Sequence[Column], runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The least of the runs by column; with a revision to compare with, the ratios at each number of sessions."""
    ours = [each for each in columns if each.kind == "ws402"]
    pairs = [(a, b) for a in ours for b in ours if a.sessions == b.sessions and a.build.name != HERE == b.build.name]
    head = ["", "goal", *(each.name for each in columns), *(f"ratio, {b.sessions}" for _, b in pairs)]
    head += ["its goal"] if pairs else []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for figure, title in NAMES.items():
        cells = [title, f"{GOALS.get(figure, '–')}"]
        cells += [
            f"{min(run[figure] for run in runs[each.name]):.1f}" if figure in runs[each.name][0] else "–"
            for each in columns
        ]
        for a, b in pairs:
            before, after = ([run[figure] for run in runs[each.name]] for each in (a, b))
            cells.append(f"{ratio(before, after):.2f}" if all(before) else "–")
        cells += [f"{RATIO_GOALS.get(figure, '–')}"] if pairs else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench server", description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[3000, 19_000])
    parser.add_argument("--seconds", type=float, default=9, help="how long updates are measured")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--against", metavar="REV", help="a revision to measure beside this checkout")
    parser.add_argument("--kinds", nargs="+", choices=["ws402", "bare", "asgi"], default=["ws402", "bare", "asgi"])
    parser.add_argument("--json", help="write the figures here too")
    chosen = parser.parse_args(arguments)
    raise_file_limit(max(chosen.sessions))
    key = secrets.token_hex(32)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    os.environ["PYTHONUNBUFFERED"] = "1"
    gateway = Program("-m", "ws402.testing", "--port", str(port), "--api-key", key)
    runs: dict[str, list[dict[str, float]]] = {}
    try:
        while not gateway.line().startswith("GATEWAY_URL"):
            pass
        with builds(chosen.against) as compared:
            columns = [
                Column(kind, build, sessions)
                for kind in chosen.kinds
                for sessions in chosen.sessions
                for build in (compared if kind == "ws402" else compared[-1:])
                if kind != "asgi" or sessions == min(chosen.sessions)
            ]
            for turn in range(chosen.repeat):
                for column in turns(columns, turn):
                    runs.setdefault(column.name, []).append(measure(column, chosen.seconds, url, key))
    finally:
        gateway.stop()
    load = os.getloadavg()[0]
    result = {"machine": machine(), "load": load, "gateway": "mock over HTTP", "figures": runs}
    print(f"Sessions on one server; {machine()}; load average at the end {load:.1f}\n")
    print(table(columns, runs))
    print(json.dumps(result))
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main(sys.argv[1:])
