"""What a session costs on one WS402 server: CPU time of the server's process alone, and resident memory.

Three processes: a gateway (`ws402.testing`'s mock over HTTP: the real API without chain and ledger), the server, the
driver. The same run measures the floor (`bench.bare`) and the baseline (`bench.asgi`). With `--repeat`, each figure is
the least of the runs: what other programs on the machine add is no cost of ours. Everything stays on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import psutil

KINDS = ("ws402", "bare", "asgi")
GOALS = {"open_us": 250, "update_us": 12, "close_us": 100, "kib_per_session": 10, "tasks_per_session": 0}
NAMES = {
    "open_us": "open, gateway link included (µs)",
    "update_us": "usage update (µs)",
    "update_checkpoint_us": "usage update, checkpoints included (µs)",
    "close_us": "close, settlement included (µs)",
    "kib_per_session": "resident memory a session (KiB)",
    "tasks_per_session": "tasks a session",
}


class Program:
    """A child that answers commands with JSON lines."""

    def __init__(self, *arguments: str, stdin: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE if stdin else None, stdout=subprocess.PIPE, text=True
        )
        self.ps = psutil.Process(self.process.pid)

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args!r} ended with status {self.process.wait()}")
        return line

    def answer(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.line())
        return parsed

    def tell(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def cpu(self) -> float:
        times = self.ps.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        return int(self.ps.memory_info().rss)

    def settle(self) -> None:
        """Wait until it uses next to no CPU."""
        quiet = 0
        while quiet < 3:
            before = self.cpu()
            time.sleep(0.2)
            quiet = quiet + 1 if self.cpu() - before < 0.02 else 0

    def report(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGUSR1)
        return self.answer()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def measure(kind: str, sessions: int, seconds: float, gateway: str, key: str) -> dict[str, float]:
    """Two servers: one with checkpoints every 5 s, as by default, and one without, which shows updates alone."""
    figures = _measure(kind, sessions, seconds, gateway, key, checkpoint_seconds=86_400)
    if kind != "bare":
        with_checkpoints = _measure(kind, sessions, seconds, gateway, key, checkpoint_seconds=5)
        figures["update_checkpoint_us"] = with_checkpoints["update_us"]
    return figures


def _measure(
    kind: str, sessions: int, seconds: float, gateway: str, key: str, *, checkpoint_seconds: float
) -> dict[str, float]:
    server = Program(
        "-m", "bench.serve", "--kind", kind, "--gateway", gateway, "--key", key,
        "--checkpoint-seconds", str(checkpoint_seconds),
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
        tasks, memory, began = server.report()["tasks"], server.rss(), server.cpu()
        driver.tell("open")
        opened = server.cpu() - began
        time.sleep(0.5)
        held, report = server.rss(), server.report()
        began = server.cpu()
        updates = driver.tell(f"stay {seconds}")["updates"]
        updating = server.cpu() - began
        began = server.cpu()
        driver.tell("close")
        server.settle()
        closed = server.cpu() - began
        assert report["live"] == sessions, report
        assert server.report()["live"] == 0
        return {
            "open_us": opened / sessions * 1e6,
            "update_us": updating / updates * 1e6,
            "close_us": closed / sessions * 1e6,
            "kib_per_session": (held - memory) / sessions / 1024,
            "tasks_per_session": (report["tasks"] - tasks) / sessions,
        }
    finally:
        if driver is not None:
            driver.stop()
        server.stop()


def table(figures: dict[str, dict[str, float]]) -> str:
    lines = ["| | goal | ws402 | bare sockets | ASGI | ASGI ÷ ws402 |", "|---|---|---|---|---|---|"]
    for name, title in NAMES.items():
        ours, theirs = figures["ws402"][name], figures["asgi"][name]
        bare = figures["bare"].get(name)
        goal = f"{GOALS[name]}" if name in GOALS else "–"
        floor = "–" if bare is None else f"{bare:.1f}"
        ratio = f"{theirs / ours:.1f}" if ours > 0.05 else "–"
        lines.append(f"| {title} | {goal} | {ours:.1f} | {floor} | {theirs:.1f} | {ratio} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench server", description=__doc__)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=15, help="how long updates are measured")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", help="write the figures here too")
    chosen = parser.parse_args(arguments)
    _raise_file_limit(chosen.sessions)
    key = secrets.token_hex(32)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    os.environ["PYTHONUNBUFFERED"] = "1"
    gateway = Program("-m", "ws402.testing", "--port", str(port), "--api-key", key)
    try:
        while not gateway.line().startswith("GATEWAY_URL"):
            pass
        runs = [
            {kind: measure(kind, chosen.sessions, chosen.seconds, url, key) for kind in KINDS}
            for _ in range(chosen.repeat)
        ]
    finally:
        gateway.stop()
    figures = {kind: {name: min(run[kind][name] for run in runs) for name in runs[0][kind]} for kind in KINDS}
    machine = f"{_processor()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    result = {
        "machine": machine,
        "load": load,
        "gateway": "mock over HTTP",
        "sessions": chosen.sessions,
        "figures": figures,
    }
    print(f"{chosen.sessions} sessions on one server; {machine}; load average at the end {load:.1f}\n")
    print(table(figures))
    print(json.dumps(result))
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=2)


def _raise_file_limit(sessions: int) -> None:
    """A socket is an open file, for the server and for the driver; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sessions + 500
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(needed, soft), hard), hard))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main(sys.argv[1:])
