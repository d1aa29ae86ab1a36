"""Signatures asked for in common: whoever asks gets an answer or an error, never nothing."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from ws402.chains.base import ChainUnavailableError
from ws402.chains.solana import SolanaChain
from ws402.settings import SolanaNetworkSettings

TX = "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW"


async def test_who_asks_when_the_chain_was_closed_does_not_wait_for_ever() -> None:
    settings = SolanaNetworkSettings(network="solana-localnet", rpc=[SecretStr("http://127.0.0.1:1")])
    chain = SolanaChain(settings, "11111111111111111111111111111111")
    await chain.close()
    asked = [asyncio.create_task(chain.status(TX)) for _ in range(3)]
    done, waiting = await asyncio.wait(asked, timeout=10)
    assert not waiting
    for each in done:
        with pytest.raises(ChainUnavailableError):
            each.result()
