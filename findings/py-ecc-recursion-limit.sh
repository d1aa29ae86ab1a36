#!/usr/bin/env bash
# Package: py-ecc 8.0.0 (PyPI), which py-evm brings along
#
# Guess:   a library of curve arithmetic leaves the interpreter's settings alone: Python's recursion limit stays at 1000.
# Seen:    `import py_ecc` alone sets it to 100000, for the whole process and for good.
# Matters: whoever counts on RecursionError as the guard against deeply nested data loses that guard as soon as some
#          dependency of a dependency imports py_ecc. Count the depth of what strangers send before it is decoded.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "py-ecc==8.0.0"

cd "$work"
venv/bin/python - <<'PY'
import sys

before = sys.getrecursionlimit()
import py_ecc

after = sys.getrecursionlimit()
print(f"recursion limit: {before} before the import of py_ecc, {after} after it")
if (before, after) != (1000, 100_000):
    sys.exit("changed: the import was seen to raise the limit from 1000 to 100000")
PY
