"""Runs `ws402` with the given arguments from a copy of its code, and starts it anew when a file of the copy changes.

For development under Tilt: the root file system stays read-only, the copy lies in /tmp. The process is asked to end as
Kubernetes would ask, so every reload is a drain too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ORIGIN = Path(os.environ.get("RELOAD_FROM", "/opt/app/ws402"))
COPY = Path(os.environ.get("RELOAD_COPY", "/tmp/app/ws402"))  # noqa: S108 - the one writable place of the pod
POLL_SECONDS = 0.5


def _state() -> frozenset[tuple[str, int]]:
    """Every source file with its time of change."""
    found = set()
    for path in COPY.rglob("*.*"):
        if "__pycache__" not in path.parts:
            try:
                found.add((str(path), path.stat().st_mtime_ns))
            except FileNotFoundError:  # removed while we looked
                continue
    return frozenset(found)


def main() -> int:
    """Until a signal, or until the process ends by itself with an error."""
    if not COPY.exists():
        shutil.copytree(ORIGIN, COPY, ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join(filter(None, [str(COPY.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", "from ws402.cli import main; main()", *sys.argv[1:]]
    ended: list[int] = []
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _: ended.append(number))
    while True:
        seen = _state()
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        while child.poll() is None and not ended and _state() == seen:
            time.sleep(POLL_SECONDS)
        if child.poll() is None:
            child.terminate()
        status = child.wait()
        if ended:
            return 0
        if _state() == seen:  # it ended by itself: wait for a repair, as a crash loop would only hide the message
            print(f"ws402 ended with status {status}; waiting for a change", file=sys.stderr, flush=True)
            while not ended and _state() == seen:
                time.sleep(POLL_SECONDS)
            if ended:
                return status


if __name__ == "__main__":
    sys.exit(main())
