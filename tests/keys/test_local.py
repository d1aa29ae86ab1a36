"""Signing with a key in memory."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from pathlib import Path

import pytest
from eth_account import Account
from eth_keys.datatypes import PublicKey, Signature
from eth_utils.crypto import keccak
from pydantic import SecretStr
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature as SolanaSignature

from ws402.chains.evm.address import address_of
from ws402.errors import ConfigurationError
from ws402.keys.local import LocalEd25519Signer, LocalSigner

SECRET = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


async def test_a_signature_recovers_to_the_public_key_with_low_s() -> None:
    signer = LocalSigner.from_hex(SECRET)
    for number in range(50):
        digest = keccak(bytes([number]))
        signature = await signer.sign(digest)
        assert len(signature) == 65
        assert signature[64] in {0, 1}
        assert int.from_bytes(signature[32:64], "big") <= HALF_ORDER
        assert Signature(signature).recover_public_key_from_msg_hash(digest) == PublicKey(signer.public_key)


async def test_signing_twice_gives_the_same_bytes() -> None:
    signer = LocalSigner.from_hex(SECRET)
    digest = keccak(b"same")
    assert await signer.sign(digest) == await signer.sign(digest)


@pytest.mark.parametrize("spelling", [SECRET, "0x" + SECRET, SECRET.upper(), f" 0x{SECRET}\n"])
def test_a_key_is_read_in_its_usual_spellings(spelling: str) -> None:
    signer = LocalSigner.from_hex(SecretStr(spelling))
    assert address_of(signer) == Account.from_key(SECRET).address


@pytest.mark.parametrize("bad", ["", "12", "zz" * 32, SECRET + "00", "00" * 32, "ff" * 32, SECRET[:-2] + "g0"])
def test_what_is_no_key_is_refused_without_quoting_it(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="32 bytes in hex") as caught:
        LocalSigner.from_hex(bad)
    if len(bad) >= 32:
        assert bad not in "".join(traceback.format_exception(caught.value))


async def test_what_is_no_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await LocalSigner.from_hex(SECRET).sign(b"a whole message instead of its digest")


def test_a46_the_key_shows_nowhere() -> None:
    signer = LocalSigner.from_hex(SECRET, key_id="refunds")
    shown = f"{signer!r} {signer} {signer.key_id} {vars(type(signer))}"
    assert SECRET not in shown.lower()
    assert str(int(SECRET, 16)) not in shown
    assert "refunds" in repr(signer)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a key"):
            leak(signer)


SEED = bytes(range(32))


def spellings(folder: Path) -> dict[str, str]:
    """One ed25519 key in every form that people have it in."""
    key = Keypair.from_seed(SEED)
    file = folder / "id.json"
    file.write_text(json.dumps(list(bytes(key))) + "\n")
    return {
        "array": json.dumps(list(bytes(key))),
        "file": str(file),
        "base58": str(key),
        "seed in base58": str(Pubkey.from_bytes(SEED)),
        "seed in hex": SEED.hex(),
        "seed in hex, 0x": "0x" + SEED.hex(),
    }


async def test_an_ed25519_key_is_read_in_every_form_that_people_have(tmp_path: Path) -> None:
    public = Keypair.from_seed(SEED).pubkey()
    for form, text in spellings(tmp_path).items():
        signer = LocalEd25519Signer.from_text(SecretStr(text))
        assert (signer.algorithm, signer.public_key) == ("ed25519", bytes(public)), form
        assert SolanaSignature.from_bytes(await signer.sign(b"a message")).verify(public, b"a message")


@pytest.mark.parametrize("form", ["array", "base58", "seed in hex", "file"])
def test_a46_an_ed25519_key_that_is_wrong_is_not_quoted(tmp_path: Path, form: str) -> None:
    text = spellings(tmp_path)[form]
    broken = {
        "array": text[:-1] + ", 7]",
        "base58": text[:-6],
        "seed in hex": text[:-2],
        "file": text + ".missing",
    }[form]
    with pytest.raises(ConfigurationError) as caught:
        LocalEd25519Signer.from_text(broken)
    shown = "".join(traceback.format_exception(caught.value))
    assert broken not in shown
    assert caught.value.remedy


def test_a46_an_ed25519_signer_does_not_show_its_key() -> None:
    signer = LocalEd25519Signer(SEED)
    for shown in (repr(signer), str(signer)):
        assert SEED.hex() not in shown
        assert str(Keypair.from_seed(SEED)) not in shown
    for take in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            take(signer)
    with pytest.raises(ConfigurationError):
        LocalEd25519Signer(bytes(64))
