"""Child processes of a bench, and the machine that they run on."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil

from bench.builds import Build
from bench.counters import process_ns


class Program:
    """A child that answers commands with JSON lines; `build`: whose code it runs, this checkout's if none is named."""

    def __init__(
        self,
        *arguments: str,
        stdin: bool = False,
        build: Build | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE if stdin else None,
            stdout=subprocess.PIPE,
            text=True,
            cwd=build.folder if build else None,
            env={**(build.environment if build else os.environ), **(environment or {})},
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

    def ns(self) -> int:
        """Nanoseconds of CPU so far."""
        return process_ns(self.process.pid)

    def rss(self) -> int:
        return int(self.ps.memory_info().rss)

    def settle(self) -> None:
        """Wait until it uses next to no CPU."""
        quiet = 0
        while quiet < 3:
            before = self.ns()
            time.sleep(0.2)
            quiet = quiet + 1 if self.ns() - before < 20_000_000 else 0

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


def raise_file_limit(sessions: int) -> None:
    """A socket is an open file, for the server and for the driver; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = sessions + 500
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(needed, soft), hard), hard))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine() -> str:
    """The machine, as tables name it."""
    try:
        with open("/proc/cpuinfo") as file:
            processor = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    return f"{processor}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
