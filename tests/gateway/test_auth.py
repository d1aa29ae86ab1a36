"""API keys: which are accepted, how they are kept, and how fast they end."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from ws402.errors import (
    ConfigurationError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
)
from ws402.gateway.auth.keys import Authenticator, Scope
from ws402.gateway.auth.stored import REFRESH_SECONDS, StoredKeys, issue_key, list_keys, revoke_key
from ws402.gateway.ledger.database import Database
from ws402.gateway.ledger.tables import api_keys
from ws402.limits import Buckets
from ws402.settings import GatewaySettings, load

KEY = "k1" * 20
OTHER = "k2" * 20
ADMIN = "ad" * 20


def settings(keys: str | None = None, admin: str | None = None, rate: int = 2000) -> GatewaySettings:
    return GatewaySettings(gateway_api_key=keys or "", gateway_admin_key=admin or "", rate_limit_per_second=rate)  # type: ignore[arg-type]  # as from the environment


def bearer(key: str) -> bytes:
    return f"Bearer {key}".encode()


def test_a38_without_any_key_the_gateway_does_not_start() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Authenticator(settings()).require_keys()
    assert "openssl rand -hex 32" in str(refused.value)
    with pytest.raises(UnauthorizedError):
        Authenticator(settings()).authenticate(bearer("your-secret-api-key"), "a")


@pytest.mark.parametrize("key", ["hunter2", "x" * 31, "tenant:" + "x" * 31, "your-secret-api-key"])
def test_a38_a_short_key_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Authenticator(load(GatewaySettings, gateway_api_key=key))
    assert "32 characters" in str(refused.value)
    assert "GATEWAY_API_KEY" in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize("key", ["schlüssel" * 5, "two words " * 5, ":" + KEY, "bad tenant:" + KEY, "a/b:" + KEY])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Authenticator(settings(key))
    assert key not in str(refused.value)


def test_several_keys_are_valid_at_once_each_with_its_tenant_and_scope() -> None:
    authenticator = Authenticator(settings(f"{KEY},films:{OTHER}", ADMIN))
    first = authenticator.authenticate(bearer(KEY), "a")
    second = authenticator.authenticate(bearer(OTHER), "a")
    operator = authenticator.authenticate(bearer(ADMIN), "a")
    assert (first.tenant, second.tenant) == ("default", "films")
    assert first.scopes == second.scopes == {Scope.PAYMENTS}
    assert operator.scopes == {Scope.ADMIN}
    operator.require(Scope.PAYMENTS, Scope.ADMIN)
    with pytest.raises(ForbiddenError):
        operator.require(Scope.PAYMENTS)


def test_a_key_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Authenticator(settings(KEY, KEY))
    assert "GATEWAY_ADMIN_KEY 1" in str(refused.value)
    with pytest.raises(ConfigurationError):
        Authenticator(settings(f"a:{KEY},b:{KEY}"))


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer  " + KEY.encode(),
        b" Bearer " + KEY.encode(),
        b"Bearer " + KEY.encode() + b" ",
        b"Bearer " + KEY.encode() + b"\n",
        b"Bearer\t" + KEY.encode(),
        b"Basic " + KEY.encode(),
        KEY.encode(),
        b"Bearer " + KEY[:-1].encode(),
        b"Bearer " + KEY.upper().encode(),
        b"Bearer default:" + KEY.encode(),
        b"Bearer " + b"x" * 100_000,
        b"Bearer \xff" + KEY.encode(),
    ],
)
def test_a38_only_the_key_itself_in_the_right_form_is_accepted(header: bytes | None) -> None:
    authenticator = Authenticator(settings(KEY))
    with pytest.raises(UnauthorizedError):
        authenticator.authenticate(header, "a")
    assert authenticator.authenticate(b"bearer " + KEY.encode(), "a").tenant == "default"


def test_a38_keys_are_kept_as_hashes_only() -> None:
    authenticator = Authenticator(settings(KEY))
    principal = authenticator.authenticate(bearer(KEY), "a")
    kept = {name: getattr(principal, name) for name in principal.__slots__}
    assert KEY not in repr(principal) + str(kept) + str(vars(authenticator))


def test_a38_guesses_are_slowed_down_by_address() -> None:
    authenticator = Authenticator(settings(f"{KEY},{OTHER}"), failures=Buckets(rate=0.001, burst=5))
    authenticator.authenticate(bearer(KEY), "guesser")
    for _ in range(5):
        with pytest.raises(UnauthorizedError):
            authenticator.authenticate(bearer(secrets.token_hex(32)), "guesser")
    with pytest.raises(RateLimitedError) as limited:
        authenticator.authenticate(bearer(secrets.token_hex(32)), "guesser")
    assert limited.value.retry_after > 1
    with pytest.raises(RateLimitedError):
        authenticator.authenticate(bearer(OTHER), "guesser")  # a right guess looks like a wrong one
    assert authenticator.authenticate(bearer(KEY), "guesser"), "a server that worked there goes on"
    assert authenticator.authenticate(bearer(OTHER), "elsewhere")


async def test_a_key_has_its_share_of_calls_and_no_more() -> None:
    authenticator = Authenticator(settings(f"{KEY},{OTHER}", rate=10))
    principal = authenticator.authenticate(bearer(KEY), "a")
    for _ in range(20):
        principal.spend()
    with pytest.raises(RateLimitedError) as limited:
        principal.spend()
    assert "10 requests a second" in str(limited.value)
    authenticator.authenticate(bearer(OTHER), "a").spend()
    await asyncio.sleep(limited.value.retry_after + 0.01)
    principal.spend()


async def test_a_stored_key_works_until_it_is_revoked(database: Database) -> None:
    authenticator = Authenticator(settings(KEY))
    stored = StoredKeys(database, authenticator)
    key_id, key = await issue_key(database, tenant="films", name="server pool", scopes=frozenset(Scope))
    await stored.start()
    principal = authenticator.authenticate(bearer(key), "a")
    assert (principal.key_id, principal.tenant, principal.scopes) == (key_id, "films", set(Scope))
    await revoke_key(database, key_id)
    async with asyncio.timeout(REFRESH_SECONDS + 3):
        while any(each.key_id == key_id for each in authenticator.principals):
            await asyncio.sleep(0.05)
    with pytest.raises(UnauthorizedError):
        authenticator.authenticate(bearer(key), "a")
    assert authenticator.authenticate(bearer(KEY), "a"), "the configured key stays"
    with pytest.raises(NotFoundError):
        await revoke_key(database, key_id)
    await stored.close()


async def test_a38_the_database_has_no_key_only_its_hash(database: Database) -> None:
    _, key = await issue_key(database, tenant="default", name="a")
    async with database.begin() as connection:
        (row,) = (await connection.execute(select(api_keys))).all()
    assert key not in str(row)
    assert len(key) >= 32
    (listed,) = await list_keys(database)
    assert listed["name"] == "a"
    assert row.key_hash not in str(listed)


async def test_a_stored_key_keeps_what_it_has_spent_when_keys_are_read_again(database: Database) -> None:
    authenticator = Authenticator(settings(rate=1))
    stored = StoredKeys(database, authenticator)
    _, key = await issue_key(database, tenant="default", name="a")
    await stored.refresh()
    for _ in range(2):
        authenticator.authenticate(bearer(key), "a").spend()
    await stored.refresh()
    with pytest.raises(RateLimitedError):
        authenticator.authenticate(bearer(key), "a").spend()
    authenticator.require_keys()


async def test_a_key_for_nobody_or_nothing_is_not_made(database: Database) -> None:
    with pytest.raises(InvalidRequestError):
        await issue_key(database, tenant="two words", name="a")
    with pytest.raises(InvalidRequestError):
        await issue_key(database, tenant="a", name="a", scopes=frozenset())
    assert await list_keys(database) == []


def test_settings_take_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", f" {KEY} , films:{OTHER} ,")
    loaded = load(GatewaySettings)
    assert loaded.gateway_api_key == [SecretStr(KEY), SecretStr(f"films:{OTHER}")]
    assert KEY not in repr(loaded)


async def test_a_scope_that_this_version_does_not_know_allows_nothing_and_stops_no_reading(database: Database) -> None:
    """In a rolling upgrade a newer gateway may write it; a key that is revoked meanwhile must still end."""
    authenticator = Authenticator(settings(admin=ADMIN))
    stored = StoredKeys(database, authenticator)
    mine, key = await issue_key(database, tenant="shop", name="one")
    other, newer = await issue_key(database, tenant="shop", name="two")
    async with database.begin() as connection:
        await connection.execute(update(api_keys).where(api_keys.c.id == other).values(scopes="reports"))
    await stored.refresh()
    assert authenticator.authenticate(bearer(key), "a").tenant == "shop"
    assert authenticator.authenticate(bearer(newer), "a").scopes == frozenset()
    await revoke_key(database, mine)
    await stored.refresh()
    with pytest.raises(UnauthorizedError):
        authenticator.authenticate(bearer(key), "a")
