"""The curve's library against eth-keys' own arithmetic, which is written in Python alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from eth_account import Account
from eth_keys.backends.native import NativeECCBackend
from eth_keys.datatypes import PrivateKey, PublicKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak

from ws402.keys import eth_keys, secp256k1

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRETS = [bytes(31) + b"\x01", (ORDER - 1).to_bytes(32, "big"), *(keccak(bytes([each])) for each in range(6))]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda each: each.hex()[:8])
def test_it_signs_recovers_and_derives_as_eth_keys_does(secret: bytes) -> None:
    reference = PrivateKey(secret, backend=NativeECCBackend())
    assert secp256k1.public_key(secret) == reference.public_key.to_bytes()
    for number in range(3):
        digest = keccak(bytes([number]))
        signature = secp256k1.sign(secret, digest)
        assert signature == reference.sign_msg_hash(digest).to_bytes()  # RFC 6979: both draw the same nonce
        assert secp256k1.recover(digest, signature) == reference.public_key.to_bytes()


def test_a_high_s_recovers_as_the_evm_recovers_it() -> None:
    digest = keccak(b"high")
    signature = secp256k1.sign(SECRETS[3], digest)
    s = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    high = signature[:32] + s + bytes([1 - signature[64]])
    assert secp256k1.recover(digest, high) == secp256k1.public_key(SECRETS[3])


@pytest.mark.parametrize(
    "signature",
    [
        b"", bytes(65), b"\xff" * 64 + b"\x00", b"\x01" * 64, b"\x01" * 66, b"\x01" * 64 + b"\x04",
        b"\x01" * 64 + b"\x1b", ORDER.to_bytes(32, "big") + b"\x01" * 32 + b"\x00",
    ],
)  # fmt: skip
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        secp256k1.recover(keccak(b"x"), signature)


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), b"\xff" * 32, ORDER.to_bytes(32, "big"), b"\x71" * 31, b"\x71" * 33]
)
def test_a46_what_is_no_secret_is_refused_without_quoting_it(secret: bytes) -> None:
    for use in (lambda: secp256k1.public_key(secret), lambda: secp256k1.sign(secret, keccak(b"x"))):
        with pytest.raises(ValueError, match=r"private key") as refused:
            use()
        assert not secret or secret.hex() not in str(refused.value)
        assert not secret or repr(secret)[2:-1] not in str(refused.value)


@pytest.mark.parametrize("digest", [b"", b"\x71" * 31, b"\x71" * 33])
def test_what_is_no_digest_is_refused(digest: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        secp256k1.sign(SECRETS[2], digest)
    with pytest.raises(ValueError, match=r"."):
        secp256k1.recover(digest, secp256k1.sign(SECRETS[2], keccak(b"x")))


def test_eth_keys_computes_by_it() -> None:
    backend, digest = eth_keys.Backend(), keccak(b"lent")
    key = PrivateKey(SECRETS[4], backend=backend)
    signature = key.sign_msg_hash(digest)
    assert signature.to_bytes() == secp256k1.sign(SECRETS[4], digest)
    assert Signature(signature.to_bytes(), backend=backend).recover_public_key_from_msg_hash(digest) == key.public_key
    assert key.public_key == PublicKey(secp256k1.public_key(SECRETS[4]))
    with pytest.raises(BadSignature):
        Signature(b"\xff" * 31 + b"\x01" * 33 + b"\x00", backend=backend).recover_public_key_from_msg_hash(digest)


USES = """
import sys
{imports}
from eth_keys.datatypes import LazyBackend
print(type(LazyBackend().backend).__module__)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import ws402.devchain.evm",
        f"from ws402.client import EvmWallet; EvmWallet('http://127.0.0.1:1', {'0x' + '01' * 32!r})",
    ],
    ids=["devchain", "wallet"],
)
def test_wallets_and_devchains_do_not_fall_back_to_python(imports: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ECC_BACKEND_CLASS"}
    command = [sys.executable, "-c", USES.format(imports=imports)]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert shown == "ws402.keys.eth_keys\n"


def test_a_gateways_keys_need_no_library_in_python() -> None:
    """Nothing that could sign slowly, and where an observer can time it, comes in unasked."""
    code = (
        "import sys, ws402.keys.local, ws402.chains.evm.chain;"
        "print(sorted({'eth_keys', 'eth_account', 'web3', 'coincurve'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_accounts_of_eth_account_are_ours() -> None:
    assert Account.from_key(SECRETS[5]).address.lower() == "0x" + keccak(secp256k1.public_key(SECRETS[5]))[12:].hex()
