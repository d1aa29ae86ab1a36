"""`python -m bench [server|gateway|observability|meters …]`: one, or all; `--help` after a name tells its options."""

from __future__ import annotations

import importlib
import importlib.util
import sys

BENCHES = ("server", "gateway", "observability", "meters")


def main() -> None:
    name, *arguments = sys.argv[1:] or ["all"]
    chosen = [each for each in BENCHES if name in (each, "all") and importlib.util.find_spec(f"bench.{each}")]
    if not chosen:
        sys.exit(f"usage: python -m bench [{'|'.join(BENCHES)}] [options]")
    for each in chosen:
        importlib.import_module(f"bench.{each}").main(arguments)


if __name__ == "__main__":
    main()
