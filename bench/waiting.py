"""What a proof costs while its transaction is on no chain: CPU of the gateway by waiting second, and RPC calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.builds import Build
from bench.chain import CountingChain
from bench.running import Gateway

PROOFS = 50
WAIT_SECONDS = 10
IDLE_SECONDS = 6
BLOCK_SECONDS = 2
"""As on Base."""


def measure_waiting(names: Sequence[Build], folder: Path) -> dict[str, dict[str, float]]:
    """By build, for each proof and second, above what an idle gateway takes: CPU (µs) and RPC calls."""
    figures = {}
    for build in names:
        with CountingChain(block_time=BLOCK_SECONDS) as chain:
            url = f"sqlite:///{folder}/waiting-{build.name}.db"
            gateway = Gateway(build, url, chain, folder, VERIFY_WAIT_SECONDS=str(WAIT_SECONDS))
            try:
                gateway.drive("generate", 500)  # warm up
                before, calls, began = gateway.program.ns(), chain.calls.total(), time.monotonic()
                time.sleep(IDLE_SECONDS)
                idle = time.monotonic() - began
                idle_ns, idle_calls = (gateway.program.ns() - before) / idle, (chain.calls.total() - calls) / idle
                before, calls = gateway.program.ns(), chain.calls.total()
                seconds = gateway.drive("wait", PROOFS, in_flight=PROOFS)
                spent, asked = gateway.program.ns() - before, chain.calls.total() - calls
            finally:
                gateway.close()
        waited = PROOFS * WAIT_SECONDS
        figures[build.name] = {
            "cpu_us": (spent - idle_ns * seconds) / waited / 1000,
            "calls": (asked - idle_calls * seconds) / waited,
            "idle_cpu_us": idle_ns / 1000,
            "idle_calls": idle_calls,
        }
    return figures


def waiting_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """One row a build."""
    lines = [
        f"| {PROOFS} wait, a block every {BLOCK_SECONDS} s | CPU a second each (µs) | goal | calls | idle | calls |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in figures.items():
        lines.append(
            f"| {name} | {each['cpu_us']:.1f} | 20 | {each['calls']:.2f} "
            f"| {each['idle_cpu_us']:.0f} | {each['idle_calls']:.1f} |"
        )
    return "\n".join([*lines, ""])
