"""A film over HTTP, paid while it is watched: the server sells a file, this program fetches it in ranges.

What a player does: it asks for the next part when it needs one, and stops paying when it stops. Run as a program:
WS402_PRIVATE_KEY=0x… python video.py http://127.0.0.1:4030 http://127.0.0.1:8545 film.mp4
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import httpx

from ws402.client import EvmWallet
from ws402.client.sync import Session, connect, run

PART = 1 << 20


def fetch(session: Session, path: Path, *, part: int = PART) -> int:
    """Append to a file what it has not yet of the film, part by part; answers the film's size."""
    end = time.monotonic() + 10
    while (access := session.http_access) is None:
        if not session.live or time.monotonic() > end:
            message = "this resource is not served over HTTP"
            raise RuntimeError(message)
        time.sleep(0.02)
    token = {"Authorization": f"Bearer {access.http_token}"}
    with httpx.Client(timeout=30) as http, path.open("ab") as file:
        while True:
            at = file.tell()
            answer = http.get(access.resource_url, headers=token | {"Range": f"bytes={at}-{at + part - 1}"})
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return at  # there is no more
            answer.raise_for_status()
            file.write(answer.content)
            size = int(answer.headers["content-range"].rpartition("/")[2])
            if file.tell() >= size:
                return size


def main(url: str, node: str, name: str) -> None:
    """Pay for five minutes, fetch what is missing, and get back the time that it did not take."""
    wallet = EvmWallet(node, os.environ["WS402_PRIVATE_KEY"])
    with connect(url, resource="film", wallet=wallet, max_amount="0.01 ETH", trust_first_use=True) as session:
        print(fetch(session, Path(name)), "bytes")
        settlement = session.end()
        print(f"paid {settlement.paid}, used {settlement.consumed}, back: {session.refund()}")
    run(wallet.close())


if __name__ == "__main__":
    main(*sys.argv[1:4])
