#!/usr/bin/env bash
# Package: moto 5.2.5 with boto3 1.44.8 (PyPI)
#
# Guess:   its KMS signs what AWS KMS signs: with `MessageType=DIGEST` the 32 bytes as they are, with RAW their SHA-256.
# Seen:    `MessageType` changes nothing: a digest is hashed once more. The signature is false for the digest, true for the
#          digest's own SHA-256, and `kms.verify` of the same moto calls it valid.
# Matters: a signer for Ethereum (keccak-256 digests, `ECC_SECG_P256K1`) that is right for AWS recovers a stranger's address
#          here. Who mends that until the tests pass has a signer that AWS makes wrong, and a test that asks only
#          `kms.verify` notices neither.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "moto[kms]==5.2.5" "boto3==1.44.8"

cd "$work"
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_DEFAULT_REGION=eu-central-1
venv/bin/python - <<'PY'
import hashlib
import sys

import boto3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from moto import mock_aws

digest = hashlib.sha256(b"a refund").digest()
seen = {}
with mock_aws():
    kms = boto3.client("kms")
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_SECG_P256K1")["KeyMetadata"]["KeyId"]
    public = load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    asked = {"KeyId": key, "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(**asked)["Signature"]
    for name, algorithm in (("the digest", ECDSA(Prehashed(SHA256()))), ("the digest's SHA-256", ECDSA(SHA256()))):
        try:
            public.verify(signature, digest, algorithm)
            seen[name] = True
        except InvalidSignature:
            seen[name] = False
    seen["kms.verify"] = kms.verify(**asked, Signature=signature)["SignatureValid"]
print("; ".join(f"{name}: {valid}" for name, valid in seen.items()))
if list(seen.values()) != [False, True, True]:
    sys.exit("changed: the signature was seen to be over the digest's SHA-256")
PY
