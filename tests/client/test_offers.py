"""What a schema may say. Nothing is paid for one that contradicts itself; each trick is one that a payer has met."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from tests.client.scripted import PRICE, RECIPIENT, ScriptedServer

from ws402.client import EvmWallet, OfferError, Options, PolicyError, Store, ask_offer, connect
from ws402.errors import InvalidRequestError, UnavailableError
from ws402.money import AmountError
from ws402.protocol import succession_message

USDC = "0x036cbd53842c5426634e7929541ec2318f3dcf7e"
OTHER = "0x" + "0b" * 20


async def refuse(url: str, wallet: EvmWallet, error: type[Exception], match: str, **limits: Any) -> None:
    """Connecting must end in this error, and nothing must leave the account."""
    before = await wallet.balance()
    limits = {"max_amount": 10**17, "trust_first_use": True} | limits
    with pytest.raises(error, match=match):
        async with connect(url, wallet=wallet, resource="ticker", duration=60, **limits):
            pytest.fail("it connected")
    assert await wallet.balance() == before


def details(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda schema: schema["paymentDetails"].__setitem__(field, value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (details("recipient", OTHER), "EIP-681 link"),
        (details("recipient", "0x" + "0" * 40), "zero address"),
        (details("recipient", "vitalik.eth"), "not an EVM address"),
        (details("amountWei", 61 * PRICE), "amountWei"),
        (details("amountETH", "0.0001"), "amountETH"),
        (details("amount", 6000), "amountWei"),
        (details("amount", 0.0006), "cannot be read"),
        (details("amount", -1), "impossible amount"),
        (details("chainId", 8453), "does not have the chain id"),
        (details("currency", "ERC20"), "currency"),
        (details("tokenAddress", USDC), "currency"),
        (details("currency", "DOGE"), "neither"),
        (details("pricePerSecond", 2 * PRICE), "pricePerSecond"),
        (details("data", "0x" + "00" * 32), "hash of its reference"),
        (details("data", "0xa9059cbb" + "00" * 64), "hash of its reference"),
        (details("reference", "another"), "hash of its reference"),
        (details("eip681", f"ethereum:{OTHER}@84532?value={60 * PRICE}"), "EIP-681 link"),
        (details("eip681", f"ethereum:{RECIPIENT}@1?value={60 * PRICE}"), "EIP-681 link"),
        (details("eip681", f"ethereum:{RECIPIENT}@84532?value={600 * PRICE}"), "EIP-681 link"),
        (details("eip681", f"ethereum:{RECIPIENT}@84532?value={60 * PRICE}&data=0xdeadbeef"), "EIP-681 link"),
        (details("eip681", f"ethereum:{RECIPIENT}@84532?value={60 * PRICE}&value={600 * PRICE}"), "EIP-681 link"),
        (details("eip681", f"ethereum:{RECIPIENT}@84532/transfer?value={60 * PRICE}"), "EIP-681 link"),
        (lambda schema: schema["pricing"].update(estimatedDuration=1), "duration"),
        (lambda schema: schema["pricing"].update(pricePerSecond=PRICE // 60), "cost"),
        (lambda schema: schema.update(resourceId="dear"), "resource"),
        (lambda schema: schema.update(protocol="x402"), "speaks"),
        (lambda schema: schema.update(websocketEndpoint="https://elsewhere"), "websocketEndpoint"),
        (lambda schema: schema.update(websocketEndpoint="wss://user:secret@elsewhere"), "websocketEndpoint"),
        (lambda schema: schema.pop("paymentDetails"), "cannot be read"),
    ],
)
async def test_a47_a_schema_that_contradicts_itself_is_not_paid(
    scripted: ScriptedServer, wallet: EvmWallet, change: Callable[[dict[str, Any]], None], match: str
) -> None:
    def both(schema: dict[str, Any]) -> None:
        scripted.tagged(schema)
        change(schema)

    scripted.change = both
    await refuse(scripted.url, wallet, OfferError, match)
    assert scripted.hellos == []


async def test_a47_calldata_cannot_make_the_payer_call_a_token(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    """A 'recipient' that is a token, and 'data' that moves all the payer has of it."""

    def trap(schema: dict[str, Any]) -> None:
        steal = "0xa9059cbb" + OTHER[2:].rjust(64, "0") + f"{10**12:064x}"
        schema["paymentDetails"].update(recipient=USDC, data=steal)

    scripted.change = trap
    await refuse(scripted.url, wallet, OfferError, "hash of its reference")


async def test_a47_the_cap_counts_smallest_units_of_the_allowed_asset_only(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    """6·10^14 units are 0.0006 ETH, but six hundred million USDC."""

    def token(schema: dict[str, Any]) -> None:
        schema["paymentDetails"].update(currency="ERC20", tokenAddress=USDC, asset="USDC", decimals=6)
        schema["paymentDetails"]["amountETH"] = str(60 * PRICE // 10**6)

    scripted.change = token
    await refuse(scripted.url, wallet, PolicyError, "allow only 'native'")
    await refuse(scripted.url, wallet, PolicyError, "allow only", asset=OTHER)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_amount": 60 * PRICE - 1}, "over_cap"),
        ({"max_price_per_second": PRICE - 1}, "price_refused"),
        ({"payees": [OTHER]}, "payee_refused"),
        ({"trust_first_use": False}, "payee_unknown"),
        ({"network": "base"}, "network_refused"),
        ({"asset": "usdc"}, "asset_refused"),
    ],
)
async def test_a47_the_payers_limits_hold(
    scripted: ScriptedServer, wallet: EvmWallet, limits: dict[str, Any], code: str
) -> None:
    before = await wallet.balance()
    with pytest.raises(PolicyError) as refused:
        async with connect(
            scripted.url,
            wallet=wallet,
            resource="ticker",
            duration=60,
            **{"max_amount": 10**17, "trust_first_use": True} | limits,
        ):
            pytest.fail("it connected")
    assert refused.value.code == code
    assert await wallet.balance() == before


async def test_limits_are_told_in_coins(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    await refuse(
        scripted.url, wallet, PolicyError, r"make 0\.0006 ETH, above your cap of 0\.0005 ETH", max_amount=5 * 10**14
    )
    price = r"The price is 0\.00001 ETH a second, above 0\.000001 ETH"
    await refuse(scripted.url, wallet, PolicyError, price, max_price_per_second=10**12)


async def test_a47_an_offer_on_another_chain_is_refused(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    scripted.change = lambda schema: schema["paymentDetails"].update(network="base", chainId=8453)
    await refuse(scripted.url, wallet, PolicyError, "eip155:8453")


async def test_a47_a_known_server_cannot_name_another_payee(
    scripted: ScriptedServer, wallet: EvmWallet, store: Store
) -> None:
    async with connect(
        scripted.url,
        wallet=wallet,
        resource="ticker",
        duration=60,
        max_amount=10**17,
        trust_first_use=True,
        store=store,
    ):
        pass
    scripted.change = details("recipient", OTHER)
    await refuse(scripted.url, wallet, PolicyError, "was paid at", store=store)
    async with connect(
        scripted.url,
        wallet=wallet,
        resource="ticker",
        duration=60,
        max_amount=10**17,
        payees=[OTHER.upper().replace("0X", "0x")],
    ) as session:
        assert session.paid == 60 * PRICE
    await refuse(scripted.url, wallet, PolicyError, "was paid at", store=store)


async def test_a_payee_that_names_its_successor_is_followed_and_remembered(
    scripted: ScriptedServer, wallet: EvmWallet, store: Store
) -> None:
    first, second, third = (Account.from_key(f"0x{number:064x}") for number in (11, 12, 13))
    shown: list[dict[str, str]] = []

    def paid_to(payee: LocalAccount) -> Callable[[dict[str, Any]], None]:
        def change(schema: dict[str, Any]) -> None:
            schema["paymentDetails"] |= {"recipient": payee.address, "successions": shown}
            schema["paymentDetails"].pop("eip681", None)

        return change

    async def paid(**limits: Any) -> int:
        async with connect(
            scripted.url, wallet=wallet, resource="ticker", duration=60, max_amount=10**17, **limits
        ) as session:
            return session.paid

    scripted.change = paid_to(first)
    assert await paid(trust_first_use=True, store=store) == 60 * PRICE
    scripted.change = paid_to(second)
    await refuse(scripted.url, wallet, PolicyError, "without a chain of signatures", store=store)
    await refuse(scripted.url, wallet, PolicyError, "none of them has signed", payees=[first.address])
    text = succession_message("base-sepolia", first.address, second.address)
    signature = first.sign_message(encode_defunct(text=text)).signature.hex()
    shown.append({"payee": first.address, "successor": second.address, "signature": signature})
    assert await paid(store=store) == 60 * PRICE
    assert await paid(payees=[first.address]) == 60 * PRICE
    shown.clear()
    assert await paid(store=store) == 60 * PRICE, "it knows the second one from now on"
    scripted.change = paid_to(first)
    await refuse(scripted.url, wallet, PolicyError, "without a chain of signatures", store=store)
    scripted.change = paid_to(third)
    await refuse(scripted.url, wallet, PolicyError, "without a chain of signatures", store=store)


async def test_a_known_payee_needs_no_trust_in_the_second_meeting(
    scripted: ScriptedServer, wallet: EvmWallet, store: Store
) -> None:
    for trust in (True, False):
        async with connect(
            scripted.url,
            wallet=wallet,
            resource="ticker",
            duration=60,
            max_amount=10**17,
            trust_first_use=trust,
            store=store,
        ) as session:
            assert await anext(session) == "hello"


async def test_the_salt_of_a_gateway_is_paid_but_no_more_than_a_thousandth(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    def salted(extra: int) -> Callable[[dict[str, Any]], None]:
        def change(schema: dict[str, Any]) -> None:
            amount = 60 * PRICE + extra
            schema["paymentDetails"].update(amount=amount, amountWei=amount, amountETH=f"0.{amount:018d}")

        return change

    scripted.started["balance"] = 60 * PRICE + 77
    scripted.change = salted(77)
    async with connect(
        scripted.url, wallet=wallet, resource="ticker", duration=60, max_amount=10**17, trust_first_use=True
    ) as session:
        assert session.paid == 60 * PRICE + 77
    scripted.change = salted(60 * PRICE // 1000 + 1)
    await refuse(scripted.url, wallet, OfferError, "cost")


async def test_an_expired_offer_is_not_paid(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    scripted.change = details("expiresAt", 1_700_000_000_000)
    await refuse(scripted.url, wallet, OfferError, "expired")


async def test_a_resource_paid_on_solana_is_refused_by_a_wallet_for_evm_networks(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    scripted.change = scripted.solana
    await refuse(scripted.url, wallet, PolicyError, "paid on solana-localnet")


async def test_an_unencrypted_server_elsewhere_is_refused_before_it_is_asked(wallet: EvmWallet) -> None:
    await refuse("http://pay.example", wallet, PolicyError, "not encrypted")
    await refuse("ws://pay.example", wallet, PolicyError, "not encrypted")


async def test_a_socket_elsewhere_that_is_not_encrypted_is_refused_before_paying(
    scripted: ScriptedServer, wallet: EvmWallet
) -> None:
    scripted.change = lambda schema: schema.update(websocketEndpoint="ws://pay.example")
    await refuse(scripted.url, wallet, PolicyError, "not encrypted")


async def test_a_servers_error_is_told_with_its_reason(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    scripted.http["/ws402/schema/ticker"] = [(400, {"error": "Bad Request", "message": "Too long.", "remedy": "Less."})]
    await refuse(scripted.url, wallet, InvalidRequestError, r"answers 400: Too long\. Less\.")
    assert len(scripted.asked) == 1


async def test_an_error_that_may_pass_is_tried_again(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    refused = {"error": "Forbidden", "message": "Not this server.", "code": "client_certificate_required"}
    scripted.http["/ws402/schema/ticker"] = [(503, {}), (429, {}), (403, refused), (200, scripted.schema(60))]
    async with connect(
        scripted.url, wallet=wallet, resource="ticker", duration=60, max_amount=10**17, trust_first_use=True
    ) as session:
        assert session.id == "s-1"


async def test_a_server_that_is_not_there_is_named(wallet: EvmWallet) -> None:
    await refuse("http://127.0.0.1:9", wallet, UnavailableError, "127.0.0.1:9 does not answer")


@pytest.mark.parametrize(
    "path", ["/", "/#ticker", "/ws402/schema/ticker", "/ws402/schema/ticker?duration=5", "/?resourceId=ticker"]
)
async def test_any_spelling_of_the_address_will_do(scripted: ScriptedServer, wallet: EvmWallet, path: str) -> None:
    scripted.http["/api/resources"] = [(200, [{"id": "ticker", "name": "", "type": "ticker", "pricing": _pricing()}])]
    async with connect(
        scripted.url + path, wallet=wallet, duration=60, max_amount=10**17, trust_first_use=True
    ) as session:
        assert session.resource_id == "ticker"


async def test_a_server_with_many_resources_wants_one_named(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    listing = [{"id": each, "name": "", "type": "ticker", "pricing": _pricing()} for each in ("a", "b")]
    scripted.http["/api/resources"] = [(200, {"resources": listing})]
    with pytest.raises(InvalidRequestError, match="sells 2 resources: a, b"):
        async with connect(scripted.url, wallet=wallet, max_amount=10**17):
            pytest.fail("it connected")


@pytest.mark.parametrize("url", ["ftp://host/x", "https://", "https://user:pass@host/#ticker", "https://host/#other"])
async def test_an_address_that_cannot_be_meant_is_refused(wallet: EvmWallet, url: str) -> None:
    await refuse(url, wallet, InvalidRequestError, "address")


@pytest.mark.parametrize("cap", [0, -1, 0.5, True, "much"])
async def test_a_cap_that_is_no_amount_is_refused(scripted: ScriptedServer, wallet: EvmWallet, cap: Any) -> None:
    await refuse(scripted.url, wallet, InvalidRequestError, "max_amount", max_amount=cap)


async def test_plaintext_can_be_allowed(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        async with connect(
            "http://nowhere.invalid/#ticker",
            wallet=wallet,
            max_amount=10**17,
            options=Options(allow_plaintext=True),
        ):
            pytest.fail("it connected")


def _pricing() -> dict[str, Any]:
    return {"pricePerSecond": PRICE, "currency": "ETH", "estimatedDuration": 300, "totalPrice": 300 * PRICE}


PRICE_IN_FULL = {"rates": [{"unit": "seconds", "amount": 3 * PRICE - 1, "per": 3}]}
"""A third of a wei a second below PRICE."""


@pytest.mark.parametrize(
    ("cap", "error", "match"),
    [
        ("0.00059 ETH", PolicyError, "above your cap of 0.00059 ETH"),
        ("5 USDC", PolicyError, "You allow only 'usdc'"),
        ("0.01 SOL", InvalidRequestError, "0.01 ETH"),
        ("5 DOGE", InvalidRequestError, "smallest units and its address"),
        ("0.01", AmountError, "max_amount"),
        ("1e-2 ETH", AmountError, "decimal places"),
        ("0 ETH", AmountError, "greater than zero"),
    ],
)
async def test_a_cap_is_written_in_coins(
    scripted: ScriptedServer, wallet: EvmWallet, cap: str, error: type[Exception], match: str
) -> None:
    await refuse(scripted.url, wallet, error, match, max_amount=cap)


async def test_a_cap_in_coins_lets_pay_what_it_covers(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    limits = {"max_amount": "0.0006 ETH", "trust_first_use": True}
    async with connect(scripted.url, wallet=wallet, resource="ticker", duration=60, **limits) as session:
        assert session.paid == 60 * PRICE


async def test_the_price_in_full_is_what_counts(scripted: ScriptedServer, wallet: EvmWallet) -> None:
    half = {"rates": [{"unit": "seconds", "amount": PRICE - 1, "per": 2}]}
    scripted.change = lambda schema: schema["pricing"].update(pricePerSecond=PRICE // 2, price=half)
    await refuse(scripted.url, wallet, OfferError, "cost")

    def both(schema: dict[str, Any]) -> None:
        schema["pricing"].update(price=PRICE_IN_FULL)
        schema["paymentDetails"].update(pricePerSecond=PRICE, price=PRICE_IN_FULL)

    scripted.change = both
    found = await ask_offer(scripted.url, resource="ticker", duration=60, allow_plaintext=True)
    assert (found.price_per_second, found.price.rate) == (PRICE, PRICE - Fraction(1, 3))


@pytest.mark.parametrize(
    ("price", "match"),
    [
        ({"rates": []}, "impossible"),
        ({"rates": [{"unit": "seconds", "amount": 2 * PRICE, "per": 1}]}, "pricePerSecond"),
        ({"rates": [{"unit": "moons", "amount": PRICE, "per": 1}]}, "impossible"),
        ({**PRICE_IN_FULL, "text": "0.000001 ETH per hour", "decimals": 18}, "reads"),
        ({**PRICE_IN_FULL, "text": "\x1b[2Jfree", "decimals": 18}, "impossible"),
        ({**PRICE_IN_FULL, "text": "1 ETH per second", "decimals": 6}, "decimals"),
        ({"rates": [{"unit": "seconds", "amount": PRICE, "per": 1}], "text": "0.00001 WETH per second"}, "reads"),
    ],
)
async def test_a47_a_price_that_reads_otherwise_than_it_charges_is_not_paid(
    scripted: ScriptedServer, wallet: EvmWallet, price: dict[str, Any], match: str
) -> None:
    scripted.change = lambda schema: schema["pricing"].update(price=price)
    await refuse(scripted.url, wallet, OfferError, match)
    assert scripted.hellos == []
