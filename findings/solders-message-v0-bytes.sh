#!/usr/bin/env bash
# Package: solders 0.29.0 (PyPI)
#
# Guess:   `bytes(message)` is what its signers sign: true of the legacy Message, so of MessageV0, too.
# Seen:    `bytes(MessageV0)` leaves out the first byte, 0x80, that says "version 0" and that the signature covers. Signed
#          so, the transaction is well formed and its signature is false; `to_bytes_versioned(message)` is the right input.
#          `Keypair`s never show it, for `VersionedTransaction(message, signers)` puts the byte there by itself.
# Matters: whoever moves a signer out of the process (a KMS, Vault's transit, a hardware wallet) writes that line anew, and
#          every versioned transaction is then refused by the cluster, though all legacy ones go through.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "solders==0.29.0"

cd "$work"
venv/bin/python - <<'PY'
import sys

from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

payer = Keypair.from_seed(bytes(range(32)))
order = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=Pubkey.new_unique(), lamports=5000))
seen = []
for message in (
    Message.new_with_blockhash([order], payer.pubkey(), Hash.default()),
    MessageV0.try_compile(payer.pubkey(), [order], [], Hash.default()),
):
    for content in (bytes(message), to_bytes_versioned(message)):
        signed = VersionedTransaction.populate(message, [payer.sign_message(content)])
        seen.append(signed.verify_with_results()[0])
    print(
        f"{type(message).__name__}: bytes() starts with 0x{bytes(message)[0]:02x}, signature over it {seen[-2]}; "
        f"to_bytes_versioned() with 0x{to_bytes_versioned(message)[0]:02x}, signature {seen[-1]}"
    )
if seen != [True, True, False, True]:
    sys.exit("changed: only the signature over bytes(MessageV0) was seen to be false")
PY
