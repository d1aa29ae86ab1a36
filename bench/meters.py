"""`python -m bench meters`: what a session's meter costs: an update, a charge, and the memory of it.

Time alone, and time beside messages and tokens; with `--against REV`, that revision's update beside them, which knows
time alone. Each build measures itself in a process of its own, in turns; figures are CPU of that process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.builds import HERE, Build, builds, ratio, turns

GOAL: Final = 1.1
"""An update with three meters ÷ one of the revision."""
SESSIONS: Final = 2000


def measure(rounds: int) -> dict[str, float]:
    """This process's build: the least CPU of an update (µs) by kind, and bytes a session."""
    from ws402.server.sessions import session as module  # noqa: PLC0415 - of whichever build is measured

    kinds = _kinds()
    figures: dict[str, float] = {}

    async def run() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        reader = loop.create_task(_drain(there))
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, here)
        owner = type("Owner", (), {"updates": 0})()
        wire = type("Socket", (), {"transport": transport})()
        made: dict[str, list[Any]] = {}
        for kind, meter in kinds.items():
            tracemalloc.start()
            sessions = [module.Session.__new__(module.Session) for _ in range(SESSIONS)]
            for number, each in enumerate(sessions):
                each.meter = meter(10**15 + number)
            figures[f"{kind}: bytes"] = tracemalloc.get_traced_memory()[0] / SESSIONS
            tracemalloc.stop()
            for number, each in enumerate(sessions):
                each.context, each.id, each.bytes_transferred, each.message_count = owner, f"ses_{number:026d}", 10, 1
                each.socket = wire
            made[kind] = sessions
        for turn in range(rounds):
            for kind in turns(list(made), turn):
                began = time.process_time()
                for at in range(0, SESSIONS, 50):
                    for each in made[kind][at : at + 50]:
                        each._send_update(1000 + turn)  # noqa: SLF001 - measured alone
                    await asyncio.sleep(0)
                spent = (time.process_time() - began) / SESSIONS * 1e6
                figures[kind] = min(figures.get(kind, spent), spent)
        transport.close()
        reader.cancel()

    asyncio.run(run())
    return figures


def _kinds() -> dict[str, Callable[[int], Any]]:
    """By what has a price: makes a meter that was paid so much."""
    from ws402.server.sessions.meter import Meter  # noqa: PLC0415 - of whichever build is measured

    make: Any = Meter
    try:
        from ws402.prices import Price, Rate, by_second  # noqa: PLC0415 - as above
    except ImportError:  # a build that knows whole units a second alone
        return {"time": lambda paid: make(paid=paid, price_per_second=10**12 + paid % 2, now=0, limit_ms=10**7)}
    rates = (Rate("seconds", 10**12, 3), Rate("messages", 10**6, 7), Rate("tokens", 10**3, 1))
    prices = {"time": by_second(10**12), "three meters": Price(rates)}

    def meter(price: Price) -> Callable[[int], Any]:
        used = {"messages": 123_456, "tokens": 7_654_321} if price.units else None
        return lambda paid: make(paid=paid, price=price, now=0, limit_ms=10**7, units=used)

    return {kind: meter(price) for kind, price in prices.items()}


async def _drain(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    end.setblocking(False)
    while await loop.sock_recv(end, 1 << 20):
        pass


def _child(build: Build, rounds: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), "--once", "--rounds", str(rounds)]
    done = subprocess.run(command, env=build.environment, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench meters", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--against", metavar="REV", help="a revision to measure beside this checkout")
    parser.add_argument("--once", action="store_true", help="measure the code that is imported, and print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.once:
        print(json.dumps(measure(chosen.rounds)))
        return
    runs: dict[str, list[dict[str, float]]] = {}
    with builds(chosen.against) as compared:
        for turn in range(chosen.repeat):
            for build in turns(compared, turn):
                runs.setdefault(build.name, []).append(_child(build, chosen.rounds))
    for name, each in runs.items():
        for figure in each[0]:
            print(f"{name}, {figure}: {min(run[figure] for run in each):.2f}")
    before = runs.get(chosen.against or "")
    if before is not None:
        for kind in ("time", "three meters"):
            both = [run["time"] for run in before], [run[kind] for run in runs[HERE]]
            print(f"update, {kind} ÷ {chosen.against}: {ratio(*both):.2f}" + f" (goal {GOAL})")


if __name__ == "__main__":
    main(sys.argv[1:])
