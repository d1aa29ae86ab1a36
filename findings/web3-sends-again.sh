#!/usr/bin/env bash
# Package: web3 8.0.0 (PyPI), `HTTPProvider` and `AsyncHTTPProvider` as they come
#
# Guess:   reads are tried again after a time-out or a 502, writes are not: who sends a transaction learns what became of
#          that one request.
# Seen:    `eth_sendRawTransaction` is on the list of what is tried again, up to 5 times. When a node took the transaction
#          and only its answer was lost, the second request meets "already known", and that is what the caller gets: an
#          error that reads like a refusal, for a transaction that is on its way. The time-out itself is never shown.
# Matters: a program that takes an RPC error for "not sent" and signs the payment anew under the next nonce pays twice.
#          Keep the hash of what was signed before it is sent, and ask for that hash whatever the answer was.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "web3==8.0.0"

cd "$work"
venv/bin/python - <<'PY'
import asyncio
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from web3 import AsyncHTTPProvider, AsyncWeb3, HTTPProvider, Web3

pool = []


class Node(BaseHTTPRequestHandler):
    """A node behind a proxy that loses the answer to the first request that takes a transaction."""

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        pool.append(call["params"][0])
        known = {"code": -32000, "message": "already known"}
        answer = json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": known}).encode()
        self.send_response(502 if len(pool) == 1 else 200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b"" if len(pool) == 1 else answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Node)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
web3 = Web3()
account = web3.eth.account.from_key("0x" + "01" * 32)
transfer = {"to": account.address, "value": 1, "nonce": 0, "gas": 21_000, "gasPrice": 10**9, "chainId": 1}
signed = account.sign_transaction(transfer).raw_transaction


async def send_async():
    client = AsyncWeb3(AsyncHTTPProvider(url))
    try:
        await client.eth.send_raw_transaction(signed)
    finally:
        await client.provider.disconnect()


seen = []
for name, send in (
    ("Web3", lambda: Web3(HTTPProvider(url)).eth.send_raw_transaction(signed)),
    ("AsyncWeb3", lambda: asyncio.run(send_async())),
):
    pool.clear()
    try:
        send()
    except Exception as error:
        seen.append((type(error).__name__, "already known" in str(error), len(pool)))
        print(f"{name}: sent {len(pool)} times, then {type(error).__name__}: {error}")
if seen != [("Web3RPCError", True, 2)] * 2:
    sys.exit("changed: the transaction was seen to be sent twice, and the second answer to be raised")
PY
