"""Errors that a real process reports to a Sentry DSN: they come, and hold no secret."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.fixtures.capture import Capture
from tests.fixtures.processes import clean_environment

from ws402.errors import ConfigurationError
from ws402.observability import sentry
from ws402.settings import ServerSettings, load

KEY = "0x" + "5e" * 32

PROGRAM = """
import logging
from ws402.observability import setup
from ws402.settings import GatewaySettings, load

setup.start(load(GatewaySettings), "gateway")
secret_local = "claim-token-claim-token"
try:
    raise ValueError("cannot sign with {key}")
except ValueError:
    logging.getLogger("ws402.test").exception("refund failed; token=%s", secret_local)
raise RuntimeError("nobody caught this: Authorization: Bearer {key}")
"""


def test_a35_errors_are_reported_without_secrets(capture: Capture) -> None:
    environment = clean_environment(
        {
            "SENTRY_DSN": f"http://publickey@127.0.0.1:{capture.port}/42",
            "MERCHANT_PRIVATE_KEY": KEY,
            "GATEWAY_API_KEY": "a" * 40,
        }
    )
    program = PROGRAM.replace("{key}", KEY)
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert ended.returncode == 1
    logged = capture.wait(b"refund failed")
    crashed = capture.wait(b"nobody caught this")
    assert {path for path, _ in capture.requests} == {"/api/42/envelope/"}
    for body in (logged, crashed):
        event = json.loads(body.splitlines()[2])
        assert event["tags"]["component"] == "gateway"
        assert event["release"].startswith("ws402@")
        assert event["exception"]["values"][0]["stacktrace"]["frames"]
    sent = b"".join(body for _, body in capture.requests)
    assert KEY[2:].encode() not in sent
    assert b"claim-token-claim-token" not in sent
    assert b"a" * 40 not in sent
    assert KEY[2:].encode() not in ended.stdout


def test_a_broken_dsn_is_told_with_a_remedy() -> None:
    with pytest.raises(ConfigurationError, match="SENTRY_DSN is not a DSN"):
        sentry.configure(load(ServerSettings, sentry_dsn="not a dsn"), "server")
