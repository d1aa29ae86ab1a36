#!/usr/bin/env bash
# Package: hypothesis 6.170.15 (PyPI)
#
# Guess:   "Do not use the `random` module inside strategies" is told of strategies that use it; a strategy that is a
#          built-in, or that another library wrote without `random`, is never meant.
# Seen:    it compares the state of `random` before and after a draw. When any other thread calls `random` meanwhile,
#          the strategy is blamed for it, and where warnings are errors the test fails, now and then.
# Matters: a test that asks a server in the same process (schemathesis over HTTP, the server in an event loop beside it)
#          fails by the jitter of the server's own timers, and names a strategy that nobody can mend.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "hypothesis==6.170.15"

cd "$work"
venv/bin/python - <<'PY'
import random
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning

warnings.simplefilter("error")
beside = ThreadPoolExecutor(1)


def drawn_while(other):
    """A draw during which another thread does something; the strategy itself uses no `random`."""

    @st.composite
    def strategy(draw):
        beside.submit(other).result()
        return draw(st.integers())

    @settings(max_examples=3, database=None, deadline=None, phases=[Phase.generate])
    @given(strategy())
    def test(number):
        pass

    try:
        test()
    except HypothesisDeprecationWarning as warning:
        return str(warning).partition(";")[0]
    except BaseException as error:
        return type(error).__name__
    return "passed"


quiet, busy = drawn_while(threading.get_ident), drawn_while(random.random)
print(f"another thread calls threading.get_ident: {quiet}")
print(f"another thread calls random.random:       {busy}")
if (quiet, busy) != ("passed", "Do not use the `random` module inside strategies"):
    sys.exit("changed: only the call of `random` in another thread was seen to fail a strategy")
PY
