"""What a wallet or a store cannot do is told before any money moves, and shows no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import MakeWallet
from tests.client.scripted import PRICE, ScriptedServer
from tests.fixtures.evm import Evm

from ws402.client import (
    EvmWallet,
    NodeUnavailableError,
    SignedPayment,
    Store,
    WalletError,
    connect,
)
from ws402.errors import ConfigurationError

LIMITS: dict[str, Any] = {"resource": "ticker", "duration": 60, "max_amount": 10**17, "trust_first_use": True}


async def test_an_account_with_too_little_is_told_what_it_needs(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    wallet = make_wallet(chain.url, bytes(chain.account(60 * PRICE).key))
    with pytest.raises(WalletError, match="needs") as refused:
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert refused.value.code == "insufficient_funds"


async def test_fees_above_the_cap_are_not_paid(scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet) -> None:
    wallet = make_wallet(chain.url, bytes(chain.account().key), max_fee_gwei=0)
    with pytest.raises(WalletError, match="gwei"):
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")


async def test_a_node_that_is_away_is_named_without_its_access_key(
    scripted: ScriptedServer, chain: Evm, make_wallet: MakeWallet
) -> None:
    wallet = make_wallet("http://127.0.0.1:9/v2/SECRET", "0x" + "11" * 32)
    with pytest.raises(NodeUnavailableError, match=r"127\.0\.0\.1:9") as failed:
        async with connect(scripted.url, wallet=wallet, **LIMITS):
            pytest.fail("it connected")
    assert "SECRET" not in str(failed.value)


@pytest.mark.parametrize("key", ["", "0x12", "nonsense", "0x" + "zz" * 32, "0x" + "00" * 32])
def test_a46_a_key_that_is_none_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="private key is not") as refused:
        EvmWallet("http://127.0.0.1:9", key)
    assert not key or key not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a46_no_secret_shows_in_a_repr(chain: Evm) -> None:
    key = "0x" + "5a" * 32
    assert "5a5a" not in repr(EvmWallet(chain.url, key))
    assert "secret" not in repr(SignedPayment(tx="0x1", raw="secret", nonce=1))


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Store(tmp_path / "file" / "payments.db")
    (tmp_path / "broken.db").write_text("This is no database, but it is long enough to be read as one. " * 20)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Store(tmp_path / "broken.db")
