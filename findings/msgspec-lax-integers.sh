#!/usr/bin/env bash
# Package: msgspec 0.22.0 and litestar 2.25.0 (PyPI)
#
# Guess:   a parameter of type int takes an integer, exactly, and refuses what is none. msgspec is known for both.
# Seen:    with `strict=False`, as Litestar reads query parameters, a text with a point or an exponent goes through a double
#          on its way to int: "1e3" is 1000, and "9007199254740993.0" is 9007199254740992, one less, without a word. The
#          same digits without ".0" stay exact, at any length.
# Matters: amounts of 18 decimals pass 2**53 at 0.009 of a coin. A client whose formatter appends ".0" asks for one amount
#          and gets another. Take amounts as text, check their form, and convert them yourself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "msgspec==0.22.0" "litestar==2.25.0"

cd "$work"
venv/bin/python - 2>log <<'PY' || { cat log >&2; exit 1; }
import sys

import msgspec
from litestar import Litestar, get
from litestar.testing import TestClient


@get("/invoice")
async def invoice(amount: int) -> str:
    return str(amount)


texts = ["9007199254740993", "9007199254740993.0", "1e3", "1.5"]
seen = []
with TestClient(Litestar([invoice])) as client:
    for text in texts:
        answer = client.get("/invoice", params={"amount": text})
        try:
            lax = msgspec.convert(text, int, strict=False)
        except msgspec.ValidationError as error:
            lax = error
        seen.append(answer.text if answer.status_code == 200 else answer.status_code)
        print(f"amount={text}: Litestar {seen[-1]}, msgspec {lax}")
if seen != ["9007199254740993", "9007199254740992", "1000", 400]:
    sys.exit("changed: 9007199254740993.0 was seen to become 9007199254740992, and 1e3 to be taken")
PY
