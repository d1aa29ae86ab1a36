"""What an invoice and a verification cost in the gateway: CPU time of its process alone, every commit durable.

Three processes: an embedded chain, the gateway, the load driver. The baseline of the same run is the least that a
Litestar handler does with a typed JSON body (`bench.gateway_process`, `echo`). Everything stays on this machine's
loopback. PostgreSQL is measured too where DATABASE_URL names a server: in a database of its own, dropped afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
from sqlalchemy import make_url

from bench.server import Program, _processor
from ws402.devchain.evm import EvmDevChain

GOALS = {"generate": 120, "verify": 200, "generate ×64": 50, "verify ×64": 100}


def drive(url: str, key: str, kind: str, count: int, in_flight: int, batch: int, proofs: str = "") -> float:
    arguments = [url, key, kind, str(count), str(in_flight), str(batch), *([proofs] if proofs else [])]
    driver = Program("-m", "bench.gateway_driver", *arguments)
    seconds = float(driver.answer()["seconds"])
    driver.process.wait()
    return seconds


def cost(gateway: Program, url: str, key: str, kind: str, count: int, batch: int, proofs: str = "") -> float:
    """Microseconds of the gateway's CPU for each operation."""
    before = gateway.cpu()
    drive(url, key, kind, count, 64 if batch == 1 else 4, batch, proofs)
    return (gateway.cpu() - before) / count * 1e6


def measure_gateway(database_url: str, rpc: str, count: int, folder: Path) -> dict[str, float]:
    key = secrets.token_hex(32)
    gateway = Program("-m", "bench.gateway_process", "gateway", database_url, rpc, key, stdin=True)
    try:
        url = gateway.answer()["url"]
        drive(url, key, "generate", 2000, 64, 1)  # warm up
        figures = {"generate": cost(gateway, url, key, "generate", count, 1)}
        figures["generate ×64"] = cost(gateway, url, key, "generate", count, 64)
        for name, batch in (("verify", 1), ("verify ×64", 64)):
            proofs = str(folder / f"{secrets.token_hex(4)}.json")
            gateway.tell(f"seed {count} {proofs}")
            figures[name] = cost(gateway, url, key, "verify", count, batch, proofs)
        return figures
    finally:
        gateway.stop()


def measure_baseline(count: int) -> float:
    baseline = Program("-m", "bench.gateway_process", "baseline", "-", "-", "-", stdin=True)
    try:
        url = baseline.answer()["url"]
        drive(url, "-", "generate", 2000, 64, 1)
        return cost(baseline, url, "-", "generate", count, 1)
    finally:
        baseline.stop()


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    async def run(statement: str) -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(statement)
        await connection.close()

    name = f"ws402_bench_{secrets.token_hex(6)}"
    asyncio.run(run(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def table(figures: dict[str, dict[str, float]], baseline: float) -> str:
    names = list(figures)
    lines = [
        f"| CPU of the gateway for each operation (µs) | goal | {' | '.join(names)} | baseline ÷ {names[0]} |",
        f"|---|---|{'---|' * len(names)}---|",
    ]
    for operation, goal in GOALS.items():
        columns = " | ".join(f"{figures[name][operation]:.0f}" for name in names)
        ratio = baseline / figures[names[0]][operation]
        lines.append(f"| {operation} | {goal} | {columns} | {ratio:.2f} |")
    return "\n".join([*lines, "", f"baseline, a Litestar handler that echoes a typed body: {baseline:.0f} µs"])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench gateway", description=__doc__)
    parser.add_argument("--count", type=int, default=12_800, help="operations of each kind, a multiple of 6400")
    parser.add_argument("--json", help="write the figures here too")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, EvmDevChain(block_time=0) as chain:
        folder = Path(name)
        baseline = measure_baseline(chosen.count)
        figures = {"SQLite": measure_gateway(f"sqlite:///{folder}/ledger.db", chain.rpc_url, chosen.count, folder)}
        if server := os.environ.get("DATABASE_URL"):
            with fresh_database(server) as url:
                figures["PostgreSQL"] = measure_gateway(url, chain.rpc_url, chosen.count, folder)
    machine = f"{_processor()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    result = {"machine": machine, "baseline_us": baseline, "figures_us": figures}
    print(f"64 calls in flight (1 operation each) or 4 (64 operations each); {machine}\n")
    print(table(figures, baseline))
    print(json.dumps(result))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(result, indent=2))
