"""A ledger's volume fills up under a running gateway: it says so, loses nothing, and goes on when there is room."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.cli.test_ledger import Shop
from tests.fixtures.evm import ETHER, Evm

from ws402.devchain.evm import EvmDevChain
from ws402.errors import UnavailableError
from ws402.gateway.ledger import database as ledger
from ws402.gateway.ledger.database import StorageFullError
from ws402.gateway.run.gateway import Gateway
from ws402.observability import metrics

SIZE = 48 * 2**20


class Volume:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no byte."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4096)):
                pass

    def make_room(self) -> None:
        """As before."""
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    folder = tmp_path / "volume"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "ws402-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield Volume(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
async def shop(devchain: EvmDevChain, volume: Volume) -> AsyncIterator[Shop]:
    evm = Evm(devchain.rpc_url, name="devchain")
    made = await asyncio.to_thread(Shop, evm, volume.folder)
    await made.open()
    yield made
    volume.make_room()
    await made.close()
    evm.close()


async def write_on(gateway: Gateway) -> None:
    """What the write-ahead log has room for is still taken."""
    for _ in range(2000):
        await gateway.audit_log.note("tester", "note", {"text": "x" * 4000})


async def ready(gateway: Gateway) -> None:
    """Wait until it is: the watch looks again when its back-off is over."""
    for _ in range(200):
        with suppress(UnavailableError):
            return await gateway.service.ready()
        await asyncio.sleep(0.1)
    raise AssertionError("not ready although there is room")


async def test_a19_a_full_volume_is_told_and_everything_goes_on_when_there_is_room(
    shop: Shop, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.gateway is not None
    gateway = shop.gateway
    first = await shop.owe(ETHER // 100)
    volume.fill()
    with pytest.raises(StorageFullError):
        await write_on(gateway)
    with pytest.raises(StorageFullError):
        await gateway.service.ready()
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        told = await http.get("/health/ready")
        assert (told.status_code, told.json()["code"]) == (503, "storage_full")
        assert (await http.get("/health/live")).status_code == 200
    with pytest.raises(UnavailableError):
        await shop.owe(ETHER // 100)
    for _ in range(5):  # the lease, the watch and the refunds fail, and go on trying
        await asyncio.to_thread(shop.evm.mine, 1)
        await asyncio.sleep(0.2)
    volume.make_room()
    await ready(gateway)
    await shop.until(first, "final")
    await shop.until(await shop.owe(ETHER // 100), "final")
    assert all(line.clean for line in await gateway.service.audit())
    monkeypatch.setattr(ledger, "LEAST_ROOM", 2**62)  # there is room, but not enough to go on for long
    with pytest.raises(StorageFullError):
        await gateway.service.ready()


async def test_the_volume_shows_in_the_metrics(shop: Shop) -> None:
    size, free, total = (
        next(iter(gauge.collect())).samples[0].value
        for gauge in (metrics.LEDGER_BYTES, metrics.VOLUME_FREE, metrics.VOLUME_SIZE)
    )
    assert shop.file.stat().st_size <= size < total == SIZE
    assert 0 < free < total
