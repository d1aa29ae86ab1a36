"""The wire: what goes out comes back, stock peers find their fields, and strangers' fields do no harm."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from ws402 import protocol
from ws402.money import MAX_AMOUNT, wire_amount
from ws402.protocol import (
    TRANSIENT_REJECTS,
    AnyOp,
    BatchRequest,
    BatchResponse,
    Checkpoint,
    EndReason,
    ErrorResponse,
    EvmPaymentDetails,
    GenerateRequest,
    Message,
    OpError,
    OpResult,
    PaymentDetails,
    Proof,
    RefundResponse,
    RejectCode,
    SettleOp,
    SettleRequest,
    SolanaPaymentDetails,
    VerifyOp,
    VerifyRequest,
    VerifyResponse,
)

text = st.text(max_size=30)
maybe = st.none() | text
amount = st.integers(1, MAX_AMOUNT).map(wire_amount)
count = st.integers(0, 2**53)

requests = st.builds(
    GenerateRequest,
    amount=amount,
    resource_id=text,
    estimated_duration=count,
    network=maybe,
    asset=maybe,
    price_per_second=st.none() | amount,
    session_id=maybe,
)
proofs = st.builds(Proof, reference=maybe, tx_hash=maybe, sender_address=maybe, signature=maybe, sender_wallet=maybe)
verifies = st.builds(VerifyRequest, proof=proofs, timestamp=st.none() | count, resource_id=maybe, server_id=maybe)
answers = st.builds(
    VerifyResponse,
    valid=st.booleans(),
    amount=amount,
    reason=maybe,
    code=st.none() | st.sampled_from(RejectCode),
    session_id=maybe,
    epoch=st.none() | count,
)
settles = st.builds(
    SettleRequest,
    session_id=text,
    epoch=count,
    elapsed_ms=count,
    bytes_transferred=count,
    message_count=count,
    reason=st.sampled_from(EndReason),
)
ops = st.builds(VerifyOp, key=maybe, body=verifies) | st.builds(SettleOp, key=maybe, body=settles)
details = st.builds(
    EvmPaymentDetails,
    network=text,
    recipient=text,
    amount=amount,
    currency=st.sampled_from(["ETH", "ERC20"]),
    reference=text,
    expires_at=count,
    instructions=st.dictionaries(text, text, max_size=3),
    chain_id=count,
    amount_wei=amount,
    amount_eth=text,
    token_address=maybe,
) | st.builds(
    SolanaPaymentDetails,
    network=text,
    recipient=text,
    amount=amount,
    currency=st.sampled_from(["SOL", "SPL"]),
    reference=text,
    expires_at=count,
    instructions=st.dictionaries(text, text, max_size=3),
    amount_sol=text,
    solana_pay_url=text,
    qr_code=text,
)


def every_message(kind: type[Message] = Message) -> set[type[Message]]:
    """All messages of the protocol."""
    below = {each for sub in kind.__subclasses__() for each in every_message(sub) | {sub}}
    return {each for each in below if each.__module__.startswith("ws402.protocol.")}


def names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@given(requests | proofs | verifies | answers | settles)
def test_what_goes_out_comes_back(message: Message) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message


@given(details)
def test_payment_details_come_back_as_their_kind(sent: PaymentDetails) -> None:
    encoded = msgspec.json.encode(sent)
    assert msgspec.json.decode(encoded, type=PaymentDetails) == sent  # type: ignore[arg-type]  # a union
    assert json.loads(encoded)["type"] == ("base" if isinstance(sent, EvmPaymentDetails) else "solana")


@given(st.lists(ops, max_size=5))
def test_batches_come_back_in_order(sent: list[AnyOp]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(BatchRequest(ops=sent)), type=BatchRequest).ops == sent


@given(st.lists(answers, max_size=4))
def test_answers_of_a_batch_keep_their_json_as_it_is(sent: list[VerifyResponse]) -> None:
    results = [OpResult(ok=msgspec.Raw(msgspec.json.encode(each))) for each in sent]
    results.append(OpResult(error=OpError(code="a", message="b", retry=True)))
    encoded = msgspec.json.encode(BatchResponse(results=results))
    came = msgspec.json.decode(encoded, type=BatchResponse).results
    assert [msgspec.json.decode(each.ok, type=VerifyResponse) for each in came[:-1]] == sent
    assert came[-1].error is not None
    assert "ok" not in json.loads(encoded)["results"][-1]


def integers_of(kind: Any) -> set[tuple[int | None, int | None]]:
    """The bounds of every integer below a type, (None, None) for one without."""
    found: set[tuple[int | None, int | None]] = set()

    def look(inner: Any) -> None:
        match inner:
            case inspect.IntType():
                found.add((inner.ge, inner.le))
            case inspect.UnionType():
                # An amount, number or decimal string, is bounded where it is read.
                amount = {inspect.IntType, inspect.StrType} <= {type(each) for each in inner.types}
                for each in inner.types:
                    if not (amount and isinstance(each, inspect.IntType)):
                        look(each)
            case inspect.ListType() | inspect.CollectionType():
                look(inner.item_type)
            case inspect.DictType():
                look(inner.value_type)

    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]  # a struct's
        look(field.type)
    return found


@pytest.mark.parametrize("kind", sorted(every_message(), key=lambda kind: kind.__name__))
def test_every_integer_of_the_wire_has_bounds(kind: type[Message]) -> None:
    assert integers_of(kind) <= {(0, 2**53)}


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 2**63, 10**30])
def test_a_count_out_of_bounds_is_refused(count: int) -> None:
    body = {"sessionId": "s", "epoch": 0, "elapsedMs": 0, "bytesTransferred": 0, "messageCount": count}
    with pytest.raises(msgspec.ValidationError, match="messageCount"):
        msgspec.convert(body, Checkpoint)


@given(requests, st.dictionaries(text.map(lambda name: f"x{name}"), st.integers() | text | st.none(), max_size=4))
def test_fields_that_we_do_not_know_are_ignored(sent: GenerateRequest, more: dict[str, Any]) -> None:
    body = json.dumps(more | json.loads(msgspec.json.encode(sent)))
    assert msgspec.json.decode(body, type=GenerateRequest) == sent


@given(answers)
def test_what_is_unset_is_left_out(sent: VerifyResponse) -> None:
    assert None not in json.loads(msgspec.json.encode(sent)).values()


def test_messages_are_spelled_as_stock_peers_do() -> None:
    assert names(GenerateRequest) >= {"amount", "resourceId", "estimatedDuration"}
    assert names(Proof) == {"txHash", "reference", "senderAddress", "signature", "senderWallet"}
    assert names(VerifyResponse) >= {"valid", "amount", "reason", "sessionId", "payer"}
    assert names(RefundResponse) >= {"status", "amount", "recipient", "message", "timestamp", "refundId", "txHash"}
    assert names(ErrorResponse) >= {"error", "message"}
    assert names(EvmPaymentDetails) >= {
        "network", "chainId", "recipient", "amount", "amountWei", "amountETH", "currency", "tokenAddress", "reference",
        "expiresAt", "instructions", "data", "eip681", "claimToken", "binding",
    }  # fmt: skip
    assert names(SolanaPaymentDetails) >= {
        "network", "recipient", "amount", "amountSOL", "currency", "splToken", "reference", "solanaPayURL", "qrCode",
        "expiresAt", "instructions", "claimToken",
    }  # fmt: skip
    assert names(Checkpoint) == {"sessionId", "epoch", "elapsedMs", "bytesTransferred", "messageCount", "units"}


def test_a_proof_is_read_in_both_spellings() -> None:
    evm = msgspec.json.decode(b'{"txHash":"0x1","reference":"r","senderAddress":"0x2"}', type=Proof)
    solana = msgspec.json.decode(b'{"signature":"s","reference":"r","senderWallet":"w"}', type=Proof)
    assert (evm.tx, evm.sender, solana.tx, solana.sender) == ("0x1", "0x2", "s", "w")


def test_every_message_is_described_and_decodable() -> None:
    kinds = [
        kind
        for kind in vars(protocol).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
    ]
    assert len(kinds) > 30
    for kind in kinds:
        assert kind.__doc__
        msgspec.json.Decoder(kind)


@pytest.mark.parametrize("number", ["1.0", "1e3", "1.5", "true", "null", "{}", "[]", "NaN", "-Infinity"])
def test_an_amount_in_json_that_is_no_integer_is_not_decoded(number: str) -> None:
    body = f'{{"amount":{number},"resourceId":"r","estimatedDuration":1}}'
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=GenerateRequest)


def test_refusals_that_may_turn_claim_nothing() -> None:
    assert RejectCode.ALREADY_CLAIMED not in TRANSIENT_REJECTS
    assert set(RejectCode) > TRANSIENT_REJECTS
    assert len(get_args(AnyOp)) == 11
