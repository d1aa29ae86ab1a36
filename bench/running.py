"""A gateway of a build as `ws402 gateway` runs it, and what loads and seeds it."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from pathlib import Path

import msgspec

from bench.builds import Build
from bench.chain import CountingChain
from bench.ledger import pay
from bench.program import Program, free_port

AMOUNT = 3 * 10**14
START = "from ws402.cli import main; main()"


def drive(url: str, key: str, kind: str, count: int, in_flight: int, batch: int, proofs: str = "") -> float:
    """Seconds that a load took."""
    arguments = [url, key, kind, str(count), str(in_flight), str(batch), *([proofs] if proofs else [])]
    driver = Program("-m", "bench.gateway_driver", *arguments)
    seconds = float(driver.answer()["seconds"])
    driver.process.wait()
    return seconds


class Gateway:
    """A running gateway of a build, with its ledger."""

    def __init__(self, build: Build, database_url: str, chain: CountingChain, folder: Path, **more: str) -> None:
        self.build, self.database_url, self.chain = build, database_url, chain
        self.key = secrets.token_hex(32)
        self.url = f"http://127.0.0.1:{free_port()}"
        network = {
            "network": "base-sepolia",
            "chain_id": 84532,
            "rpc": [chain.rpc_url],
            "merchant_private_key": "0x" + secrets.token_hex(32),
            "final_after": 1_000_000,  # refunds are recorded and wait: sending them is another matter
        }
        config = folder / f"{secrets.token_hex(4)}.json"
        environment = {
            "DATABASE_URL": database_url,
            "GATEWAY_API_KEY": self.key,
            "EVM_NETWORKS": json.dumps([network]),
            "RATE_LIMIT_PER_SECOND": "1000000",
            "LOG_LEVEL": "error",
            **more,
        }
        self.proofs = str(config)
        port = self.url.rpartition(":")[2]
        self.program = Program("-c", START, "gateway", "--port", port, build=build, environment=environment)
        for _ in range(1200):  # a busy machine is slow to start
            try:
                urllib.request.urlopen(f"{self.url}/health/startup").close()
                break
            except OSError:
                time.sleep(0.1)
        request = urllib.request.Request(f"{self.url}/api/stats", headers={"Authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(request) as answer:
            self.recipient = json.load(answer)["merchantWallet"]

    def drive(self, kind: str, count: int, batch: int = 1, in_flight: int | None = None) -> float:
        """Seconds that a load took."""
        return drive(self.url, self.key, kind, count, in_flight or (64 if batch == 1 else 4), batch, self.proofs)

    def seed(self, count: int) -> None:
        """Paid invoices, to be verified next."""
        self.drive("seed", count, 100)
        head = self.chain.rpc("eth_getBlockByNumber", "latest", False)
        pay(self.database_url, msgspec.json.decode(Path(self.proofs).read_bytes()), head, self.recipient, AMOUNT)

    def close(self) -> None:
        self.program.stop()
