"""What metrics and traces cost, as ratios of CPU time in the same run and the same processes.

*Verify*: one gateway process, whose counting is turned off, on, and on with 1 % of operations traced, in turn; each
round is all modes, one after the other. *Update*: `usage_update`s of a server's sessions over a real socket, with
and without the one line that counts them. Each figure is the least of the rounds: what other programs on the machine
add is no cost of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import secrets
import socket
import statistics
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.program import Program
from bench.running import drive
from ws402.devchain.evm import EvmDevChain
from ws402.prices import by_second
from ws402.server.sessions import session as module
from ws402.server.sessions.meter import Meter

MODES = ("off", "metrics", "traced")
COUNTING = "    self.context.updates += 1\n"


class Sink(BaseHTTPRequestHandler):
    """Takes spans, as a collector does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def measure_verify(rounds: int, count: int) -> dict[str, Any]:
    """Least CPU of one verification by mode (µs), and the audit log's for one entry."""
    key = secrets.token_hex(32)
    kinds = {"verify": 1, "verify ×64": 64}
    figures: dict[str, dict[str, list[float]]] = {kind: {mode: [] for mode in MODES} for kind in kinds}
    scrapes: list[float] = []
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    os.environ["BENCH_OTLP"] = f"http://127.0.0.1:{sink.server_port}/v1/traces"
    with tempfile.TemporaryDirectory() as name, EvmDevChain(block_time=0) as chain:
        url = f"sqlite:///{name}/ledger.db"
        gateway = Program("-m", "bench.gateway_process", "gateway", url, chain.rpc_url, key, stdin=True)
        try:
            base = gateway.answer()["url"]
            drive(base, key, "generate", 2000, 64, 1)
            for turn in range(rounds + 1):
                for shift in range(len(MODES)):
                    mode = MODES[(turn + shift) % len(MODES)]
                    for kind, batch in kinds.items():
                        proofs = str(Path(name) / "proofs.json")
                        gateway.tell(f"seed {count} {proofs}")
                        gateway.tell("seal")
                        gateway.tell(f"mode {mode}")
                        os.environ["BENCH_TRACED"] = "0.01" if mode == "traced" else "0"
                        before = gateway.tell("cpu")["seconds"]
                        drive(base, key, "verify", count, 64 if batch == 1 else 4, batch, proofs)
                        spent = gateway.tell("cpu")["seconds"] - before
                        if turn:  # the first round warms up
                            figures[kind][mode].append(spent / count * 1e6)
                scrapes.append(gateway.tell("scrape")["seconds"])
            gateway.tell("mode metrics")
            gateway.tell(f"seed {count} {proofs}")
            sealed = gateway.tell("seal")
        finally:
            gateway.stop()
    least = {kind: {mode: min(runs) for mode, runs in modes.items()} for kind, modes in figures.items()}
    return {
        "cpu_us": least,
        "scrape_ms": statistics.median(scrapes) * 1e3,
        "audit_log_us_per_entry": sealed["seconds"] / sealed["entries"] * 1e6,
    }


def measure_update(rounds: int, sessions: int) -> dict[str, float]:
    """Median CPU of one update (µs), of very many, with and without its counter."""
    counted = module.Session._send_update  # noqa: SLF001 - measured alone
    source = textwrap.dedent(inspect.getsource(counted))
    assert COUNTING in source
    bare: dict[str, Any] = {}
    exec(source.replace(COUNTING, ""), vars(module), bare)
    works: dict[str, Callable[..., None]] = {"counted": counted, "bare": bare["_send_update"]}
    figures: dict[str, list[float]] = {name: [] for name in works}

    async def run() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        reader = loop.create_task(_drain(there))
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, here)
        owner = type("Owner", (), {"updates": 0})()
        made = []
        for number in range(sessions):
            each = module.Session.__new__(module.Session)
            each.context, each.id, each.bytes_transferred, each.message_count = owner, f"ses_{number:026d}", 10, 1
            each.socket = type("Socket", (), {"transport": transport})()
            each.meter = Meter(paid=10**15, price=by_second(10**12), now=0, limit_ms=10**7)
            made.append(each)
        for turn in range(rounds):
            for name in sorted(works, reverse=bool(turn % 2)):
                work, spent = works[name], 0.0
                for at in range(0, sessions, 50):
                    began = time.process_time()
                    for each in made[at : at + 50]:
                        work(each, 1000 + turn)
                    spent += time.process_time() - began
                    await asyncio.sleep(0)
                figures[name].append(spent / sessions * 1e6)
        transport.close()
        reader.cancel()

    asyncio.run(run())
    return {name: statistics.median(runs) for name, runs in figures.items()}


async def _drain(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    end.setblocking(False)
    while await loop.sock_recv(end, 1 << 20):
        pass


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench observability", description=__doc__)
    parser.add_argument("--count", type=int, default=1600, help="verifications in a round, a multiple of 1600")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args(arguments)
    update = measure_update(200, 2000)
    told = measure_verify(chosen.rounds, chosen.count)
    print(
        "| CPU of one operation (µs) | not counted | metrics | ratio | 1 % traced | ratio |\n|---|---|---|---|---|---|"
    )
    for kind, modes in told["cpu_us"].items():
        off, metrics, traced = (modes[mode] for mode in MODES)
        print(f"| {kind} | {off:.1f} | {metrics:.1f} | {metrics / off:.3f} | {traced:.1f} | {traced / off:.3f} |")
    ratio = update["counted"] / update["bare"]
    print(f"| update | {update['bare']:.2f} | {update['counted']:.2f} | {ratio:.3f} | – | – |")
    print(f"\na scrape: {told['scrape_ms']:.1f} ms; the audit log: {told['audit_log_us_per_entry']:.1f} µs an entry")
    print(json.dumps({"update_us": update, **told}))
