"""CPU time of other processes, by the kernel's nanosecond counters: the ticks of /proc/PID/stat are 10 ms long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import asyncpg
import psutil


def process_ns(pid: int) -> int:
    """Nanoseconds of CPU that a process has used, ended threads included: its clock (POSIX `clock_getcpuclockid`).

    Raises OSError when it has ended.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)  # how Linux numbers them: CPUCLOCK_SCHED of this process


class Processes:
    """Some processes, counted together: what `find` finds now, and what those used that have ended meanwhile."""

    def __init__(self, find: Callable[[], Iterable[int]]) -> None:
        self._find = find
        self._used: dict[int, int] = {}

    def ns(self) -> int:
        """Nanoseconds of CPU of all of them."""
        for pid in self._find():
            with suppress(OSError):
                self._used[pid] = process_ns(pid)
        return sum(self._used.values())


def database_processes(url: str | None) -> Processes:
    """The processes of a PostgreSQL server on this machine: backends, WAL writer and all; none for another's."""
    postmaster = _postmaster(url) if url else None
    if postmaster is None:
        return Processes(tuple)
    return Processes(lambda: [postmaster.pid, *(child.pid for child in postmaster.children())])


def _postmaster(url: str) -> psutil.Process | None:
    async def find() -> psutil.Process | None:
        connection = await asyncpg.connect(url)
        try:
            backend = psutil.Process(int(await connection.fetchval("SELECT pg_backend_pid()")))
            return backend.parent() if backend.name().startswith("postgres") else None
        except psutil.NoSuchProcess:  # it runs on another machine
            return None
        finally:
            await connection.close()

    return asyncio.run(find())
