"""The bench counts CPU in nanoseconds, also of processes that end while it counts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from bench.counters import Processes, database_processes, process_ns

SPIN = "x = sum(range(300_000)); print(x, flush=True); input()"


def spin() -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.communicate("\n", timeout=10)


def test_a_process_is_counted_as_it_counts_itself() -> None:
    before, told, after = time.process_time_ns(), process_ns(os.getpid()), time.process_time_ns()
    assert before <= told <= after


def test_threads_that_have_ended_count_too() -> None:
    before = process_ns(os.getpid())
    spent: list[int] = []

    def work() -> None:
        sum(range(200_000))
        spent.append(time.thread_time_ns())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert process_ns(os.getpid()) - before >= spent[0]


def test_a_process_that_ended_keeps_its_part() -> None:
    child = spin()
    running = [child.pid]
    group = Processes(lambda: running)
    counted = group.ns()
    end(child)
    assert counted > 0
    assert group.ns() == counted
    with pytest.raises(OSError, match="Invalid argument"):
        process_ns(child.pid)


def test_a_process_that_joins_counts_whole() -> None:
    first = spin()
    running = [first.pid]
    group = Processes(lambda: running)
    before = group.ns()
    second = spin()
    running.append(second.pid)
    try:
        assert group.ns() - before >= process_ns(second.pid) // 2
    finally:
        end(first)
        end(second)


def test_a_ledger_in_a_file_has_no_processes() -> None:
    assert database_processes(None).ns() == 0
