"""The last test of the suite: its token was made in the first ones, for none lives less than ten minutes."""

from __future__ import annotations

import time

import pytest
from tests.cluster.release import Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_a37_a_stolen_token_that_has_expired_is_refused(release: Release, early_token: tuple[str, float]) -> None:
    bearer, ends = early_token
    time.sleep(max(0.0, ends + 31 - time.time()))  # the gateway allows clocks to differ by 30 s
    assert release.status(bearer) == 401
