"""The same tests over every keeper of keys: what it signs, and what is said when it does not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr
from tests.fixtures.keepers import Algorithm, Aws, Azure, Google, Hsm, Keeper

from ws402.errors import ConfigurationError
from ws402.gateway.run.gateway import build
from ws402.gateway.run.keys import with_keepers
from ws402.keys import secp256k1
from ws402.keys.base import SignerUnavailableError
from ws402.keys.keyring import local_signers
from ws402.keys.kms.ecdsa import ORDER
from ws402.keys.kms.registry import key_service
from ws402.keys.kms.ring import KmsRing, open_kms
from ws402.keys.kms.service import KeyServiceError
from ws402.keys.kms.signer import KmsSigner
from ws402.observability import metrics
from ws402.settings import EvmNetworkSettings, GatewaySettings, KmsSettings, NetworkSettings, SolanaNetworkSettings

pytestmark = pytest.mark.keys

DIGESTS = [hashlib.sha256(bytes([each])).digest() for each in range(24)]
MESSAGE = b"a transaction's message, much longer than any digest would be, as Solana signs it" * 8


def signer_of(keeper: Keeper, signer: str) -> KmsSigner:
    settings = keeper.settings(timeout_seconds=20)
    return KmsSigner(key_service(signer, settings), timeout_seconds=settings.timeout_seconds, workers=settings.workers)


def network(signer: str, algorithm: Algorithm = "secp256k1", earlier: tuple[str, ...] = ()) -> NetworkSettings:
    rpc = [SecretStr("http://127.0.0.1:9")]
    if algorithm == "secp256k1":
        return EvmNetworkSettings(
            network="base-sepolia", chain_id=84532, rpc=rpc, signer=signer, earlier_signers=list(earlier)
        )
    return SolanaNetworkSettings(network="solana-localnet", rpc=rpc, signer=signer, earlier_signers=list(earlier))


def open_one(keeper: Keeper, each: NetworkSettings, settings: KmsSettings | None = None) -> KmsRing:
    return open_kms([each], settings or keeper.settings())


def refused(keeper: Keeper, each: NetworkSettings, settings: KmsSettings | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        open_one(keeper, each, settings)
    return raised.value


def count(keeper: Keeper, result: str) -> float:
    labels = {"keeper": keeper.kind, "result": result}
    return metrics.GATEWAY.get_sample_value("ws402_kms_signatures_total", labels) or 0.0


async def test_digests_are_signed_as_ethereum_takes_them(keeper: Keeper) -> None:
    signer = signer_of(keeper, keeper.make("secp256k1"))
    signed = await asyncio.gather(*(signer.sign(digest) for digest in DIGESTS))
    for digest, signature in zip(DIGESTS, signed, strict=True):
        assert secp256k1.recover(digest, signature) == signer.public_key
        assert int.from_bytes(signature[32:64], "big") <= ORDER // 2, "EIP-2"
    with pytest.raises(ValueError, match="32 bytes"):
        await signer.sign(b"short")
    assert signer.key_id.startswith(f"{keeper.kind}:")
    signer.close()


async def test_messages_are_signed_as_solana_takes_them(keeper: Keeper) -> None:
    if "ed25519" not in keeper.algorithms:
        solana = network(keeper.missing(), "ed25519")
        with pytest.raises(ValueError, match="no ed25519"):
            GatewaySettings.model_validate({"solana_networks": [solana]})
        return
    signer = signer_of(keeper, keeper.make("ed25519"))
    assert signer.algorithm == "ed25519"
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(await signer.sign(MESSAGE), MESSAGE)
    signer.close()


async def test_a_key_that_is_disabled_while_it_is_used_is_told_and_another_one_goes_on(keeper: Keeper) -> None:
    signer, other = (signer_of(keeper, keeper.make("secp256k1")) for _ in range(2))
    name = signer.key_id
    await signer.sign(DIGESTS[0])
    keeper.disable(name)
    before = count(keeper, "ok")
    for _ in range(8):  # it answers, so it is asked each time, and the first one that works again is noticed
        with pytest.raises(SignerUnavailableError) as raised:
            await signer.sign(DIGESTS[0])
        assert name.partition(":")[2] in raised.value.message
        assert raised.value.remedy
    await other.sign(DIGESTS[0])
    assert count(keeper, "ok") == before + 1
    signer.close()
    other.close()


@pytest.mark.parametrize("trouble", ["missing", "another kind", "disabled"])
def test_a_key_that_cannot_be_used_is_refused_at_the_start(keeper: Keeper, trouble: str) -> None:
    if trouble == "missing":
        named = keeper.missing()
    elif trouble == "another kind":
        named = keeper.make_other()
    else:
        named = keeper.make("secp256k1")
        keeper.disable(named)
    error = refused(keeper, network(named))
    assert "base-sepolia" in error.message
    assert error.remedy


def test_a_key_of_the_other_algorithm_is_refused_at_the_start(keeper: Keeper) -> None:
    for algorithm in keeper.algorithms:
        other: Algorithm = "ed25519" if algorithm == "secp256k1" else "secp256k1"
        if keeper.kind == "azure-keyvault":
            continue  # refused in the settings
        error = refused(keeper, network(keeper.make(algorithm), other))
        assert algorithm in error.message
        assert other in str(error.remedy)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("keeper", [Aws, Google, Azure], indirect=True, ids=lambda kind: kind.kind)
def test_a_keeper_that_says_nothing_has_a_deadline(keeper: Keeper, silent: int) -> None:
    named, settings = keeper.away(silent)
    with pytest.raises(KeyServiceError) as raised:
        KmsSigner(key_service(named, settings), timeout_seconds=settings.timeout_seconds, workers=1)
    assert raised.value.reason in {"slow", "unreachable"}


def test_an_aws_without_its_certificate_is_out_of_reach_and_no_matter_of_credentials(aws: Aws) -> None:
    elsewhere = os.environ["AWS_ENDPOINT_URL"].replace("http://", "https://")
    service = key_service(aws.make("secp256k1"), aws.settings(aws_endpoint_url=elsewhere))
    with pytest.raises(KeyServiceError, match="SSLError") as raised:
        service.public_key()
    assert raised.value.reason == "unreachable"
    service.close()


def test_an_earlier_key_that_is_gone_does_not_stop_the_gateway(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    kept, gone = keeper.make("secp256k1"), keeper.make("secp256k1")
    keeper.disable(gone)
    ring = open_one(keeper, network(keeper.make("secp256k1"), earlier=(gone, kept)))
    assert [each.key_id for each in ring.earlier["base-sepolia"]] == [kept]
    assert "is passed over" in caplog.text
    ring.close()


def test_an_earlier_key_that_signs_now_is_passed_over(keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    now, before = keeper.make("secp256k1"), keeper.make("secp256k1")
    ring = open_one(keeper, network(now, earlier=(now, before, before)))
    assert [each.key_id for each in ring.earlier["base-sepolia"]] == [before]
    assert caplog.text.count("one key twice") == 2
    ring.close()


def test_keys_at_a_keeper_come_before_one_in_the_settings(google: Google) -> None:
    """Who leaves a keeper has refunds on their way, which its key finishes."""
    before = google.make("secp256k1")
    settings = {
        "network": "base-sepolia",
        "chain_id": 84532,
        "rpc": ["http://127.0.0.1:9"],
        "earlier_signers": [before],
    }
    key = {"merchant_private_key": f"0x{'11' * 32}"}
    kms = google.settings().model_dump()
    given = GatewaySettings.model_validate({"evm_networks": [settings | key], "kms": kms})
    signers = local_signers(given.networks())
    ring = with_keepers(given, signers)[1]
    assert [each.key_id for each in ring.earlier["base-sepolia"]] == [before]
    assert not ring.signers
    ring.close()
    with pytest.raises(ConfigurationError, match="none that signs now"):
        build(GatewaySettings.model_validate({"evm_networks": [settings], "kms": kms}))


@pytest.mark.parametrize(
    ("project", "reason"),
    [
        ("denied", "denied"),
        ("exhausted", "throttled"),
        ("unavailable", "unreachable"),
        ("corrupt", "malformed"),
        ("unverified", "malformed"),
        ("otherkey", "malformed"),
    ],
)
def test_what_google_says_and_what_comes_damaged_is_told(google: Google, project: str, reason: str) -> None:
    with pytest.raises(KeyServiceError) as raised:
        signer_of(google, google.troubled(project))
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("denied", "denied"),
        ("exhausted", "throttled"),
        ("unavailable", "failed"),
        ("corrupt", "malformed"),
        ("otherkey", "malformed"),
    ],
)
def test_what_azure_says_and_what_comes_damaged_is_told(azure: Azure, name: str, reason: str) -> None:
    with pytest.raises(KeyServiceError) as raised:
        signer_of(azure, azure.troubled(name))
    assert raised.value.reason == reason


def test_two_networks_share_a_token(hsm: Hsm) -> None:
    networks = [network(hsm.make("secp256k1")), network(hsm.make("ed25519"), "ed25519")]
    ring = open_kms(networks, hsm.settings())
    assert {name: each.algorithm for name, each in ring.signers.items()} == {
        "base-sepolia": "secp256k1",
        "solana-localnet": "ed25519",
    }
    ring.close()
    open_kms(networks, hsm.settings()).close()


@pytest.mark.parametrize("missing", ["pkcs11_module", "pkcs11_token", "pkcs11_pin_file"])
def test_a_token_that_is_not_described_is_told(hsm: Hsm, missing: str) -> None:
    error = refused(hsm, network(hsm.missing()), hsm.settings(**{missing: None}))
    assert missing in str(error.remedy)


def test_a_wrong_pin_is_told_before_it_is_locked(hsm: Hsm) -> None:
    (hsm.folder / "wrong").write_text("0000")
    error = refused(hsm, network(hsm.make("secp256k1")), hsm.settings(pkcs11_pin_file=hsm.folder / "wrong"))
    assert "pkcs11_pin_file" in str(error.remedy)
    assert os.environ["PKCS11_PIN"] not in error.message
