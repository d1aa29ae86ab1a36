"""An ed25519 key that stays in Vault: signatures, versions, and what is told when it cannot sign."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hvac.exceptions import VaultError
from pydantic import SecretStr
from tests.fixtures.vault import VaultCorner

from ws402.chains.solana import address_of
from ws402.gateway.run.gateway import build
from ws402.keys.base import SignerUnavailableError
from ws402.keys.snapshot import Counters, SecretsUnavailableError
from ws402.keys.vault.transit import TransitClient, TransitSigner
from ws402.settings import GatewaySettings, SolanaNetworkSettings, VaultSettings

MESSAGE = b"a transaction's message, much longer than any digest would be, as Solana signs it" * 3


@pytest.fixture
async def client(vault: VaultCorner) -> AsyncIterator[TransitClient]:
    """Over a corner with a transit key of its path's name."""
    made = TransitClient(vault.approle("--transit-key", vault.path), Counters())
    yield made
    await made.close()
    vault.root.secrets.transit.update_key_configuration(vault.path, deletion_allowed=True)
    vault.root.secrets.transit.delete_key(vault.path)


def signers(vault: VaultCorner, client: TransitClient) -> list[TransitSigner]:
    """Of all versions, newest first, as the source of secrets finds them."""
    settings = vault.settings(auth="token", token_file=vault.file("root", vault.root.token))
    source = vault.source(settings, transit={"solana": vault.path})
    line = source.load().keys["solana"]
    source.close()
    return [TransitSigner(client, vault.path, each.version, each.public_key or b"") for each in line]


@pytest.mark.vault
async def test_a_message_is_signed_and_the_key_stays_where_it_is(vault: VaultCorner, client: TransitClient) -> None:
    (signer,) = signers(vault, client)
    signature = await signer.sign(MESSAGE)
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, MESSAGE)
    assert await signer.sign(MESSAGE) == signature
    assert (signer.algorithm, signer.key_id, len(signature)) == ("ed25519", f"transit/{vault.path}:v1", 64)
    assert vault.path in repr(signer)
    with pytest.raises(VaultError):
        vault.root.secrets.transit.export_key(vault.path, "signing-key")


@pytest.mark.vault
async def test_each_version_signs_by_its_own_key(vault: VaultCorner, client: TransitClient) -> None:
    vault.root.secrets.transit.rotate_key(vault.path)
    new, old = signers(vault, client)
    assert (new.version, old.version) == (2, 1)
    signed = await asyncio.gather(*(each.sign(MESSAGE) for each in (new, old)))
    for signer, signature, other in zip((new, old), signed, (old, new), strict=True):
        Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, MESSAGE)
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(other.public_key).verify(signature, MESSAGE)


@pytest.mark.vault
async def test_a_gateway_is_paid_at_the_account_of_the_transit_key(vault: VaultCorner, client: TransitClient) -> None:
    (signer,) = signers(vault, client)
    settings = GatewaySettings(
        vault=vault.approle("--transit-key", vault.path),
        database_url=SecretStr("sqlite:///unused.db"),
        solana_networks=[
            SolanaNetworkSettings(
                network="solana-localnet", rpc=[SecretStr("http://127.0.0.1:9")], signer=f"vault-transit:{vault.path}"
            )
        ],
    )
    gateway = await asyncio.to_thread(build, settings)
    assert gateway.chains["solana-localnet"].recipient == address_of(signer)
    signature = await gateway.signers["solana-localnet"].sign(MESSAGE)
    Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, MESSAGE)
    assert gateway.keyring is not None
    await gateway.keyring.close()
    await gateway.close()


@pytest.mark.vault
async def test_a_sealed_vault_signs_nothing_and_holds_up_nobody(vault: VaultCorner, client: TransitClient) -> None:
    (signer,) = signers(vault, client)
    await signer.sign(MESSAGE)
    vault.seal()
    try:
        with pytest.raises(SignerUnavailableError) as refused:
            await signer.sign(MESSAGE)
        assert "sealed" in refused.value.message
        assert client.counters.failures["sealed"] == 1
    finally:
        vault.unseal()
    assert await signer.sign(MESSAGE)


@pytest.mark.vault
async def test_a_policy_for_another_key_does_not_sign(vault: VaultCorner, client: TransitClient) -> None:
    (signer,) = signers(vault, client)
    other = TransitSigner(client, f"{vault.path}-other", 1, signer.public_key)
    with pytest.raises(SignerUnavailableError) as refused:
        await other.sign(MESSAGE)
    assert "denies" in refused.value.message


@pytest.mark.vault
def test_a_key_of_another_kind_is_refused(vault: VaultCorner) -> None:
    vault.root.secrets.transit.create_key(f"{vault.path}-p256", key_type="ecdsa-p256")
    settings = vault.settings(auth="token", token_file=vault.file("root", vault.root.token))
    with pytest.raises(SecretsUnavailableError) as refused:
        vault.source(settings, transit={"solana": f"{vault.path}-p256"}).load()
    assert "ecdsa-p256" in refused.value.message


@pytest.mark.parametrize("answer", ["vault:v2:{}", "vault:v1:{}x", "{}", "vault:v1:AAAA", ""])
async def test_a_signature_that_is_not_the_keys_is_refused(
    tmp_path: Path, likeness: Callable[..., str], answer: str
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    good = base64.b64encode(key.sign(MESSAGE)).decode()

    def reply(handler: Any, body: Any) -> tuple[int, Any]:
        if "lookup-self" in handler.path:
            return 200, {"data": {"ttl": 0}}
        return 200, {"data": {"signature": answer.format(good)}}

    (tmp_path / "token").write_text("t")
    settings = VaultSettings(address=likeness(reply), auth="token", token_file=tmp_path / "token")
    client = TransitClient(settings, Counters())
    with pytest.raises(SignerUnavailableError):
        await TransitSigner(client, "float", 1, key.public_key().public_bytes_raw()).sign(MESSAGE)
    await client.close()
