"""The secrets of challenges: one for all servers of a tenant, changed every day without a challenge lost."""

from __future__ import annotations

import pytest

from ws402.gateway.collect.challenges import ROTATE_MS, SPREAD_MS, Challenges
from ws402.gateway.ledger.database import Database


async def test_a57_all_gateways_tell_one_secret_and_each_tenant_another(sqlite_database: Database) -> None:
    first, second = Challenges(sqlite_database), Challenges(sqlite_database)
    assert await first.secrets("shop") == await second.secrets("shop")
    assert await first.secrets("shop") != await first.secrets("rival")


async def test_a_new_secret_is_known_to_servers_before_they_use_it(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenges = Challenges(sqlite_database)
    start = sqlite_database.now_ms()
    (old,) = await challenges.secrets("shop")
    monkeypatch.setattr(sqlite_database, "now_ms", lambda: start + 2 * ROTATE_MS)
    told = await challenges.secrets("shop")
    assert (len(told), told[0]) == (2, old)
    monkeypatch.setattr(sqlite_database, "now_ms", lambda: start + 2 * ROTATE_MS + SPREAD_MS)
    assert await challenges.secrets("shop") == (told[1], old)
    for day in (4, 6):
        monkeypatch.setattr(sqlite_database, "now_ms", lambda day=day: start + day * ROTATE_MS)
        later = await challenges.secrets("shop")
    assert old not in later
