#!/usr/bin/env bash
# Packages: mppx 0.11.0 (npm), pympp 0.16.0 (PyPI)
#
# Guess:   two SDKs of one protocol bind an `evm/charge` authorization to its challenge by the same nonce; pympp says that its hash
#          matches mppx's. So either client pays at either server.
# Seen:    for one challenge, mppx signs keccak256(id followed by realm), pympp keccak256 of the JSON array [id, realm].
# Matters: a server that expects one form sees valid signatures with "wrong" nonces from clients of the other SDK. Who
#          writes a server has to take both; either binds the transfer to the challenge.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "pympp[evm]==0.16.0"
cd "$work"
echo '{"private": true, "type": "module"}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts mppx@0.11.0 viem@2.54.0

request=$(printf '%s' '{"amount":"60000","currency":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","methodDetails":{"chainId":84532,"credentialTypes":["authorization"],"decimals":6},"recipient":"0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"}' | base64 -w0 | tr '+/' '-_' | tr -d =)
export CHALLENGE="Payment id=\"an-id\", realm=\"api.example.com\", method=\"evm\", intent=\"charge\", request=\"$request\", expires=\"2099-01-01T00:00:00Z\""
export KEY=0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d

cat > client.mjs <<'JS'
import { Challenge, Credential } from "mppx";
import { evm } from "mppx/client";
import { privateKeyToAccount } from "viem/accounts";
const method = evm.charge({ account: privateKeyToAccount(process.env.KEY), authorization: { name: "USDC", version: "2" } });
const challenge = Challenge.deserialize(process.env.CHALLENGE);
console.log(Credential.deserialize(await method.createCredential({ challenge, context: {} })).payload.nonce);
JS
cat > client.py <<'PY'
import asyncio
import os

from eth_account import Account
from mpp import Challenge, Credential
from mpp.methods.evm import BASE_SEPOLIA_USDC
from mpp.methods.evm import client as evm
from mpp.runtime import CredentialParams

method = evm.charge(currency=BASE_SEPOLIA_USDC, account=Account.from_key(os.environ["KEY"]))
challenge = Challenge.from_www_authenticate(os.environ["CHALLENGE"])
shown = asyncio.run(method.create_credential(CredentialParams(challenge=challenge)))
print(Credential.from_authorization(shown).payload["nonce"])
PY
npm=$(node client.mjs)
pypi=$(venv/bin/python client.py)
venv/bin/python - "$npm" "$pypi" <<'PY'
import sys

from eth_utils.crypto import keccak

joined = "0x" + keccak(text="an-idapi.example.com").hex()
listed = "0x" + keccak(text='["an-id","api.example.com"]').hex()
print(f"mppx:  {sys.argv[1]}, id and realm joined: {sys.argv[1] == joined}")
print(f"pympp: {sys.argv[2]}, a JSON array of both: {sys.argv[2] == listed}")
if sys.argv[1:] != [joined, listed]:
    sys.exit("changed: each was seen to hash in its own way")
PY
