"""What a coin is about in a currency that people count in: shown beside amounts, and never reckoned with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import httpx
import msgspec

from ws402.outgoing import http_client
from ws402.server.web.shared import Shared
from ws402.settings.checkout import CheckoutSettings

KEPT_SECONDS: Final = 300.0
"""How long rates are not asked for again."""
ASK_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 1.0
"""How long a page waits for a feed that is slow; then it gets the rates from before."""
GOOD_SECONDS: Final = 3600.0
"""Older rates are not shown."""
EARLY_SECONDS: Final = 300.0
"""How far another clock may be ahead."""
MAX_BYTES: Final = 65_536
MAX_RATES: Final = 64
MAX_DIGITS: Final = 40

logger = logging.getLogger(__name__)


class Feed(msgspec.Struct):
    """What a feed or a file says."""

    at: datetime
    rates: dict[str, str]
    """By the coin's symbol: what one is worth, in decimals."""


class FiatRates(msgspec.Struct):
    """What a page is told."""

    currency: str
    """ISO 4217."""
    at: int
    """Milliseconds since 1970."""
    rates: dict[str, str]


class Rates:
    """Those of one server; None where none are wanted, or none that are fresh can be had."""

    def __init__(self, settings: CheckoutSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._ask = Shared(self._read, KEPT_SECONDS)
        self._known: FiatRates | None = None

    async def latest(self) -> FiatRates | None:
        """The rates as they are known now."""
        if self._settings.fiat_currency is None:
            return None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                self._known = await self._ask()
        except (httpx.HTTPError, OSError, ValueError, TimeoutError) as error:
            logger.debug("no rates of %s: %s", self._settings.fiat_currency, error)
        known = self._known
        age = self._now() - known.at / 1000 if known is not None else 0.0
        return known if -EARLY_SECONDS <= age <= GOOD_SECONDS else None

    async def _read(self) -> FiatRates:
        """Ask. Raises httpx.HTTPError, OSError, ValueError."""
        settings = self._settings
        if settings.fiat_rates_file is not None:
            body = await asyncio.to_thread(_file, settings.fiat_rates_file)
        else:
            body = await _fetch(settings.fiat_rates_url or "")
        feed = _feed.decode(body)
        if feed.at.tzinfo is None:
            msg = "'at' has no offset; write it in UTC, as 2026-01-31T12:00:00Z"
            raise ValueError(msg)
        if len(feed.rates) > MAX_RATES:
            msg = f"there are more than {MAX_RATES} rates"
            raise ValueError(msg)
        for symbol, rate in feed.rates.items():
            _check(symbol, rate)
        return FiatRates(settings.fiat_currency or "", int(feed.at.timestamp() * 1000), feed.rates)


def _check(symbol: str, rate: str) -> None:
    try:
        fine = len(rate) <= MAX_DIGITS and Decimal(rate).is_finite() and Decimal(rate) > 0
    except InvalidOperation:
        fine = False
    if not fine:
        msg = f"the rate of {symbol[:20]} is no positive decimal number"
        raise ValueError(msg)


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(MAX_BYTES + 1))


async def _fetch(url: str) -> bytes:
    body = b""
    async with (
        asyncio.timeout(ASK_SECONDS),
        http_client(follow_redirects=False) as client,
        client.stream("GET", url, headers={"accept": "application/json"}) as answer,
    ):
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            body = _bounded(body + part)
    return body


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        msg = f"the rates take more than {MAX_BYTES} bytes"
        raise ValueError(msg)
    return body


_feed: Final = msgspec.json.Decoder(Feed)
