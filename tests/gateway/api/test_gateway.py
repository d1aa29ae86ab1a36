"""The whole gateway, as `ws402 gateway` builds it, over HTTP: real ledger, real chain, real sockets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.certificates import Authority
from tests.fixtures.cluster import Cluster
from tests.fixtures.evm import ETHER, Evm

from ws402.devchain.evm import EvmDevChain
from ws402.errors import ConflictError, InvalidRequestError, NotFoundError, UnauthorizedError
from ws402.gateway.auth.stored import issue_key, revoke_key
from ws402.gateway.run.gateway import Gateway, build
from ws402.protocol import (
    EndReason,
    EvmPaymentDetails,
    GenerateRequest,
    Proof,
    RefundRequest,
    RejectCode,
    ResumeRequest,
    SettleRequest,
    VerifyRequest,
)
from ws402.provider.credentials import LinkFiles
from ws402.provider.direct import DirectPaymentProvider
from ws402.provider.proxy import ProxyPaymentProvider
from ws402.settings import GatewaySettings

KEY, FILMS_KEY, ADMIN_KEY = (letter * 40 for letter in "kfa")
GENERATE = {"amount": 10**15, "resourceId": "feed", "estimatedDuration": 300}


@pytest.fixture
def evm(shared_devchain: EvmDevChain) -> Iterator[Evm]:
    """One chain is enough here: what differs between chains is not HTTP's business."""
    evm = Evm(shared_devchain.rpc_url, name="devchain")
    yield evm
    evm.close()


@asynccontextmanager
async def running(evm: Evm, folder: Path, **more: Any) -> AsyncIterator[Gateway]:
    merchant = await asyncio.to_thread(evm.account, ETHER)
    values: dict[str, Any] = {
        "gateway_port": 0,
        "gateway_api_key": f"{KEY},films:{FILMS_KEY}",
        "gateway_admin_key": ADMIN_KEY,
        "database_url": f"sqlite:///{folder / 'ledger.db'}",
        "base_rpc": evm.url,
        "merchant_private_key": "0x" + merchant.key.hex().removeprefix("0x"),
        "verify_wait_seconds": 3,
    }
    gateway = build(GatewaySettings(**values | more))
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


@pytest.fixture
async def gateway(evm: Evm, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running(evm, tmp_path) as started:
        yield started


def client(gateway: Gateway, key: str = KEY) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)


async def post(http: httpx.AsyncClient, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def paid(http: httpx.AsyncClient, evm: Evm, **more: Any) -> dict[str, Any]:
    details = await post(http, "/api/payment/generate", GENERATE | more)
    payer = await asyncio.to_thread(evm.account, ETHER)
    data = bytes.fromhex(details["data"][2:])
    tx = await asyncio.to_thread(evm.send, payer, details["recipient"], value=10**15, data=data)
    return {"txHash": tx, "reference": details["reference"], "senderAddress": payer.address}


async def test_a_stock_servers_session_from_invoice_to_refund(gateway: Gateway, evm: Evm) -> None:
    async with client(gateway) as http:
        proof = await paid(http, evm)
        verified = await post(http, "/api/payment/verify", {"proof": proof})
        assert verified["valid"], verified
        assert (verified["amount"], verified["payer"].lower()) == (10**15, proof["senderAddress"].lower())
        over = await post(http, "/api/payment/refund", {"proof": proof, "amount": 10**15 + 1}, 409)
        assert (over["error"], over["refundable"]) == ("Conflict", 10**15)
        refund = await post(http, "/api/payment/refund", {"proof": proof, "amount": 9 * 10**14})
        assert (refund["status"], refund["amount"]) == ("success", 9 * 10**14)
        assert await post(http, "/api/payment/refund", {"proof": proof, "amount": 9 * 10**14}) | {
            "timestamp": 0, "state": ""
        } == refund | {"timestamp": 0, "state": ""}  # fmt: skip
        stats = (await http.get("/api/stats")).json()
        assert (stats["paymentsVerified"], stats["refundsIssued"], stats["provider"]) == (1, 1, "base")
        assert stats["merchantWallet"] == gateway.chains["base-sepolia"].recipient
        assert stats["totalVolume"] == {"base-sepolia": {"ETH": 10**15}}


async def test_a1_a2_a_proof_raced_over_http_opens_one_session(gateway: Gateway, evm: Evm) -> None:
    async with client(gateway) as http:
        proof = await paid(http, evm)
        answers = await asyncio.gather(*(post(http, "/api/payment/verify", {"proof": proof}) for _ in range(8)))
        assert sorted(answer["valid"] for answer in answers) == [False] * 7 + [True]
        await asyncio.sleep(1.2)  # beyond the time in which a repetition may be a lost answer
        again = await post(http, "/api/payment/verify", {"proof": proof})
        assert (again["valid"], again["code"]) == (False, RejectCode.ALREADY_CLAIMED)


async def test_a_lost_answer_is_given_again_and_a_replay_is_not(gateway: Gateway, evm: Evm) -> None:
    async with client(gateway) as http:
        proof = await paid(http, evm)
        await asyncio.to_thread(evm.automine, False)
        try:
            proof_late = await _unmined(http, evm)
            with pytest.raises(httpx.ReadTimeout):
                await http.post("/api/payment/verify", json={"proof": proof_late}, timeout=0.3)
        finally:
            await asyncio.to_thread(evm.automine, True)
            await asyncio.to_thread(evm.mine)
        async with asyncio.timeout(10):
            while gateway.service.verifier.verified == 0:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.2)
        again = await post(http, "/api/payment/verify", {"proof": proof_late})
        assert again["valid"], again
        replay = await post(http, "/api/payment/verify", {"proof": proof_late})
        assert (replay["valid"], replay["code"]) == (False, RejectCode.ALREADY_CLAIMED)
        assert (await post(http, "/api/payment/verify", {"proof": proof}))["valid"]


async def _unmined(http: httpx.AsyncClient, evm: Evm) -> dict[str, Any]:
    details = await post(http, "/api/payment/generate", GENERATE)
    payer = evm.funder
    raw = await asyncio.to_thread(
        evm.sign, payer, details["recipient"], value=10**15, data=bytes.fromhex(details["data"][2:])
    )
    tx = await asyncio.to_thread(evm.submit, raw)
    return {"txHash": tx, "reference": details["reference"], "senderAddress": payer.address}


async def test_a16_a_refund_ignores_the_address_that_a_request_names(gateway: Gateway, evm: Evm) -> None:
    async with client(gateway) as http:
        proof = await paid(http, evm)
        assert (await post(http, "/api/payment/verify", {"proof": proof}))["valid"]
        thief = "0x" + "99" * 20
        refund = await post(http, "/api/payment/refund", {"proof": proof | {"senderAddress": thief}, "amount": 1000})
        assert refund["recipient"].lower() == proof["senderAddress"].lower()


async def test_a37_a_tenant_cannot_reach_another_tenants_payments(gateway: Gateway, evm: Evm) -> None:
    async with client(gateway) as http, client(gateway, FILMS_KEY) as films:
        proof = await paid(http, evm)
        stolen = await post(films, "/api/payment/verify", {"proof": proof})
        assert (stolen["valid"], stolen["code"]) == (False, RejectCode.UNKNOWN_INVOICE)
        verified = await post(http, "/api/payment/verify", {"proof": proof})
        assert verified["valid"]
        refused = await post(films, "/api/payment/refund", {"proof": proof, "amount": 1000}, 404)
        assert refused["error"] == "Not Found"
        top_up = await post(films, "/api/payment/generate", GENERATE | {"sessionId": verified["sessionId"]}, 404)
        assert top_up["error"] == "Not Found"


async def test_a37_a_tenant_cannot_end_resume_or_follow_anothers_session(gateway: Gateway, evm: Evm) -> None:
    ours, films = (ProxyPaymentProvider(gateway.url, key) for key in (KEY, FILMS_KEY))
    async with client(gateway) as http:
        proof = await paid(http, evm, pricePerSecond=10**12)
    shown = Proof(reference=proof["reference"], tx_hash=proof["txHash"], sender_address=proof["senderAddress"])
    session = await ours.verify_payment(VerifyRequest(proof=shown, server_id="server-1"))
    assert session.valid
    ending = SettleRequest(
        session_id=str(session.session_id),
        epoch=session.epoch or 0,
        elapsed_ms=0,
        bytes_transferred=0,
        message_count=0,
        reason=EndReason.CLIENT_CLOSED,
    )
    with pytest.raises(NotFoundError):
        await films.settle(ending)
    with pytest.raises(NotFoundError):
        await films.checkpoint(ending)
    with pytest.raises(ConflictError):
        await films.resume(ResumeRequest(token=str(session.resume_token), server_id="thief"))
    with pytest.raises(NotFoundError):
        await films.issue_refund(RefundRequest(proof=shown, amount=1))
    settled = await ours.settle(ending)
    with pytest.raises(NotFoundError):
        await films.refund_status(str(settled.refund_id))
    assert (await ours.refund_status(str(settled.refund_id))).amount == settled.refund
    await ours.close()
    await films.close()


async def test_a36_the_ledger_holds_no_resume_token_and_still_repeats_a_lost_answer(
    gateway: Gateway, evm: Evm, tmp_path: Path
) -> None:
    async with client(gateway) as http:
        proof = await paid(http, evm, pricePerSecond=10**12)
        opening = {"op": "verify", "key": "1", "body": {"proof": proof, "serverId": "server-1"}}

        async def ask(op: dict[str, Any]) -> dict[str, Any]:
            (result,) = (await post(http, "/api/ops", {"ops": [op]}))["results"]
            return dict(result)

        opened = await ask(opening)
        resuming = {"op": "resume", "key": "2", "body": {"token": opened["ok"]["resumeToken"], "serverId": "server-2"}}
        resumed = await ask(resuming)
        assert await ask(opening) == opened
        assert await ask(resuming) == resumed
        other = await ask(resuming | {"body": {"token": "guess", "serverId": "server-2"}})
        assert other["error"]["code"] == "key_reused"
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
        assert opened["ok"]["sessionId"].encode() in kept
        for answer in (opened, resumed):
            assert answer["ok"]["resumeToken"].encode() not in kept


async def test_a36_a_top_up_by_resume_token_has_the_terms_of_its_session(gateway: Gateway, evm: Evm) -> None:
    ours, films = (ProxyPaymentProvider(gateway.url, key) for key in (KEY, FILMS_KEY))
    async with client(gateway) as http:
        proof = await paid(http, evm, pricePerSecond=10**12)
    shown = Proof(reference=proof["reference"], tx_hash=proof["txHash"], sender_address=proof["senderAddress"])
    session = await ours.verify_payment(VerifyRequest(proof=shown, server_id="server-1"))

    def asking(**changed: Any) -> GenerateRequest:
        """By a server that does not hold the session, with another price and asset in its list."""
        request = {
            "amount": 1,
            "price_per_second": 7,
            "asset": None,
            "resource_id": "feed",
            "estimated_duration": 20,
            "session_id": session.session_id,
            "resume_token": session.resume_token,
        }
        return GenerateRequest(**request | changed)

    details = await ours.generate_payment_details(asking())
    assert (int(details.amount), details.price_per_second) == (20 * 10**12, 10**12)
    for provider, changed in (
        (ours, {"resume_token": "guess"}),
        (ours, {"resume_token": ""}),
        (films, {}),
        (ours, {"session_id": "ses_nobody"}),
    ):
        with pytest.raises(NotFoundError):
            await provider.generate_payment_details(asking(**changed))
    with pytest.raises(InvalidRequestError):
        await ours.generate_payment_details(asking(resource_id="other"))
    moved = await ours.resume(ResumeRequest(token=str(session.resume_token), server_id="server-2"))
    with pytest.raises(NotFoundError):  # the token was used
        await ours.generate_payment_details(asking())
    assert int((await ours.generate_payment_details(asking(resume_token=moved.resume_token))).amount) == 20 * 10**12
    await ours.close()
    await films.close()


async def test_a37_service_accounts_are_tenants_of_their_own_over_tls(
    evm: Evm, tmp_path: Path, cluster: Cluster
) -> None:
    """As in a cluster: TLS, projected tokens, no API key; one account's server cannot touch another's session."""
    authority = Authority(tmp_path / "tls")
    pair = authority.issue("gateway")
    values = {
        "gateway_api_key": "",
        "gateway_tls_cert_file": pair.cert,
        "gateway_tls_key_file": pair.key,
        "kubernetes_identity": cluster.settings | {"allow": ["shop/server", "films/server"]},
    }
    async with running(evm, tmp_path, **values) as gateway, AsyncExitStack() as stack:

        def server(account: str) -> ProxyPaymentProvider:
            file = tmp_path / account.replace("/", "-")
            file.write_text(cluster.token(account))
            provider = ProxyPaymentProvider(
                gateway.url, token_file=file, files=LinkFiles(authority.file), retry_attempts=1
            )
            stack.push_async_callback(provider.close)
            return provider

        ours, films, thief = server("shop/server"), server("films/server"), server("thief/server")
        details = await ours.generate_payment_details(
            GenerateRequest(amount=10**15, resource_id="feed", estimated_duration=300, price_per_second=10**12)
        )
        assert isinstance(details, EvmPaymentDetails)
        payer = await asyncio.to_thread(evm.account, ETHER)
        data = bytes.fromhex(str(details.data)[2:])
        tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=10**15, data=data)
        proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
        session = await ours.verify_payment(VerifyRequest(proof=proof, server_id="server-1"))
        assert session.valid
        ending = SettleRequest(
            session_id=str(session.session_id),
            epoch=session.epoch or 0,
            elapsed_ms=0,
            bytes_transferred=0,
            message_count=0,
            reason=EndReason.CLIENT_CLOSED,
        )
        with pytest.raises(NotFoundError):
            await films.settle(ending)
        with pytest.raises(ConflictError):
            await films.resume(ResumeRequest(token=str(session.resume_token), server_id="thief"))
        with pytest.raises(UnauthorizedError):
            await thief.settle(ending)
        assert int((await ours.settle(ending)).refund) == 10**15


async def test_a37_an_operators_key_moves_no_money_and_a_servers_key_sees_no_others(gateway: Gateway, evm: Evm) -> None:
    async with client(gateway) as http, client(gateway, ADMIN_KEY) as operator:
        proof = await paid(http, evm)
        for path, body in (
            ("/api/payment/generate", GENERATE),
            ("/api/payment/verify", {"proof": proof}),
            ("/api/payment/refund", {"proof": proof, "amount": 1}),
            ("/api/ops", {"ops": []}),
        ):
            assert (await post(operator, path, body, 403))["error"] == "Forbidden"
        assert (await http.get("/api/admin/pending")).status_code == 403
        pending = (await operator.get("/api/admin/pending")).json()
        assert [each["resourceId"] for each in pending["invoices"]] == ["feed"]
        assert proof["reference"] not in str(pending)


async def test_a38_a_revoked_key_ends_within_seconds_without_a_restart(gateway: Gateway) -> None:
    key_id, key = await issue_key(gateway.database, tenant="films", name="pool")
    async with client(gateway, key) as http:

        async def status() -> int:
            return (await http.post("/api/payment/generate", json=GENERATE)).status_code

        async with asyncio.timeout(6):
            while await status() != 200:
                await asyncio.sleep(0.2)
        await revoke_key(gateway.database, key_id)
        async with asyncio.timeout(6):
            while await status() != 401:
                await asyncio.sleep(0.2)


async def test_one_key_cannot_take_all_of_the_gateways_time(evm: Evm, tmp_path: Path) -> None:
    async with (
        running(evm, tmp_path, rate_limit_per_second=5) as gateway,
        client(gateway) as http,
        client(gateway, FILMS_KEY) as films,
    ):
        answers = [await http.post("/api/payment/generate", json=GENERATE) for _ in range(30)]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert 10 <= len(limited) <= 20
        assert limited[0].json()["error"] == "Too Many Requests"
        assert limited[0].headers["retry-after"] == "1"
        assert (await films.post("/api/payment/generate", json=GENERATE)).status_code == 200


async def test_probes_tell_starting_serving_and_ill(evm: Evm, tmp_path: Path) -> None:
    async with running(evm, tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as http:
        assert gateway._app is not None
        gateway._app.starting()
        seen = {path: (await http.get(f"/health/{path}")).status_code for path in ("live", "startup", "ready")}
        assert seen == {"live": 200, "startup": 503, "ready": 503}
        async with client(gateway) as server:
            assert (await post(server, "/api/payment/generate", GENERATE, 503))["code"] == "starting"
        gateway._app.started()
        gateway.service.watcher.errors["base-sepolia"] = "http://secret-endpoint is away"
        ill = await http.get("/health/ready")
        assert (ill.status_code, ill.json()["code"]) == (503, "chain_unavailable")
        assert "secret" not in ill.text
        gateway.service.watcher.errors.clear()
        assert (await http.get("/health/ready")).status_code == 200


async def test_closing_answers_what_was_asked(evm: Evm, tmp_path: Path) -> None:
    async with running(evm, tmp_path) as gateway:
        http = client(gateway)
        asked = [asyncio.create_task(http.post("/api/payment/generate", json=GENERATE)) for _ in range(50)]
        while not any(each.done() for each in asked):
            await asyncio.sleep(0)
        await gateway.close()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        done = [each for each in answers if isinstance(each, httpx.Response)]
        assert done
        assert {each.status_code for each in done} == {200}
        lost = [each for each in answers if not isinstance(each, httpx.Response)]
        assert all(isinstance(each, httpx.ConnectError | httpx.RemoteProtocolError | httpx.ReadError) for each in lost)
        await http.aclose()


async def test_a35_secrets_stay_out_of_the_log(evm: Evm, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    password = secrets.token_hex(8)
    async with running(evm, tmp_path) as gateway, client(gateway) as http:
        proof = await paid(http, evm)
        await post(http, "/api/payment/verify", {"proof": proof})
        await http.get("/api/stats", headers={"Authorization": f"Bearer {password}"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("ws402", "uvicorn"))]
    for secret in (KEY, FILMS_KEY, ADMIN_KEY, password, proof["reference"]):
        assert secret not in "\n".join(ours)


async def test_the_gateway_inside_a_program_needs_no_http_and_no_key(evm: Evm, tmp_path: Path) -> None:
    merchant = await asyncio.to_thread(evm.account, ETHER)
    settings = GatewaySettings(
        database_url=f"sqlite:///{tmp_path / 'ledger.db'}",  # type: ignore[arg-type]  # as from the environment
        base_rpc=evm.url,  # type: ignore[arg-type]
        merchant_private_key="0x" + merchant.key.hex().removeprefix("0x"),  # type: ignore[arg-type]
    )
    gateway = build(settings)
    await gateway.start(http=False)
    provider = DirectPaymentProvider(gateway.service)
    details: Any = await provider.generate_payment_details(
        GenerateRequest(amount=10**15, resource_id="feed", estimated_duration=300, price_per_second=10**12)
    )
    payer = await asyncio.to_thread(evm.account, ETHER)
    data = bytes.fromhex(details.data[2:])
    tx = await asyncio.to_thread(evm.send, payer, details.recipient, value=10**15, data=data)
    proof = Proof(reference=details.reference, tx_hash=tx, sender_address=payer.address)
    assert (await provider.verify_payment(VerifyRequest(proof=proof, server_id="s"))).valid
    assert await provider.health_check()
    assert (await provider.get_gateway_info())["paymentsVerified"] == 1
    with pytest.raises(RuntimeError):
        _ = gateway.url
    await gateway.close()
