"""`python -m charts.dashboards` writes the dashboards; with `--check` it only tells whether they are up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from charts.dashboards import gateway, keys, money, overview, runtime, servers
from charts.dashboards.parts import render

FOLDER = Path(__file__).parents[1] / "ws402" / "files" / "dashboards"
DASHBOARDS = (overview, money, servers, gateway, keys, runtime)


def files() -> dict[Path, str]:
    """The files and what should be in them."""
    return {
        FOLDER / f"{each.DASHBOARD.name}.json": json.dumps(render(each.DASHBOARD), indent=1, sort_keys=True) + "\n"
        for each in DASHBOARDS
    }


def main() -> int:
    """Write or check; exit status 1 when a file is stale."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"{path.name} is stale: run python -m charts.dashboards", file=sys.stderr)  # noqa: T201
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path])
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
