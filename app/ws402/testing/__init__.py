"""Test what you build on WS402 without a chain.

- `MockPaymentProvider` (fixture `ws402_provider`): the gateway in this process, for Python servers.
- `PaidServer` (fixture `ws402_sell`): your resource in a server, and whole paid sessions against it.
- `MockGateway` (fixture `ws402_gateway`): the gateway over HTTP, for servers in any language.
- `python -m ws402.testing --port 4029`: the same, outside of pytest.

Bookkeeping is honest (paid = consumed + refunded, one session a payment), money is pretended, and every refusal and
fault can be had::

    def test_my_server_tells_a_refused_payment(ws402_gateway, my_server):
        ws402_gateway.faults.reject("amount_short")
        ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ws402.provider.mock.faults import Faults
    from ws402.provider.mock.provider import MockPaymentProvider
    from ws402.testing.gateway import HttpFaults, MockGateway
    from ws402.testing.paid import PaidServer, PretendedWallet, Seller, sold

__all__ = [
    "Faults",
    "HttpFaults",
    "MockGateway",
    "MockPaymentProvider",
    "PaidServer",
    "PretendedWallet",
    "Seller",
    "sold",
]


def __getattr__(name: str) -> Any:
    """Import when asked for: pytest loads this package in every run, and must not load a web server with it."""
    if name in ("HttpFaults", "MockGateway"):
        from ws402.testing import gateway  # noqa: PLC0415

        return getattr(gateway, name)
    if name in ("PaidServer", "PretendedWallet", "Seller", "sold"):
        from ws402.testing import paid  # noqa: PLC0415

        return getattr(paid, name)
    if name == "MockPaymentProvider":
        from ws402.provider.mock.provider import MockPaymentProvider as Provider  # noqa: PLC0415

        return Provider
    if name == "Faults":
        from ws402.provider.mock.faults import Faults as Knobs  # noqa: PLC0415

        return Knobs
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
