#!/usr/bin/env bash
# Package: pympp 0.16.0 (PyPI)
#
# Guess:   `parse_units`, said to match viem's, turns a decimal text into smallest units exactly, or raises ValueError.
# Seen:    it multiplies by Python's default decimal context, of 28 digits: 99999999999.999999999999999999 with 18 decimals
#          becomes 10**29, one unit too many, and 12345678901.000000000000000001 loses its last unit. Its check for
#          fractions of a unit comes after the rounding and sees nothing.
# Matters: tokens of low worth are paid in such numbers (eleven digits before the point and eighteen after it). Client and server that
#          both round agree with each other and differ from the invoice, from viem, and from the ledger.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pympp==0.16.0"

cd "$work"
venv/bin/python - <<'PY'
import sys
from fractions import Fraction

from mpp._units import parse_units

wrong = []
for amount in ("0.000000000000000001", "9999999999.999999999999999999", "12345678901.000000000000000001", "99999999999.999999999999999999"):
    exact, got = int(Fraction(amount) * 10**18), parse_units(amount, 18)
    print(f"{amount}: {got} ({got - exact:+d})")
    wrong.append(got - exact)
if wrong != [0, 0, -1, 1]:
    sys.exit("changed: the last two were seen to be one unit off")
PY
