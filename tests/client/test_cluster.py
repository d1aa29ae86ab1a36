"""As in a cluster: a balanced address before two servers; tokens of ServiceAccounts and TLS behind them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tests.client.conftest import MakeWallet
from tests.fixtures.certificates import Authority
from tests.fixtures.cluster import Cluster
from tests.fixtures.processes import COMMAND, free_port
from tests.fixtures.stack import PRICE, Stack

from ws402.client import EvmWallet, connect
from ws402.protocol import EndReason

TICKER = {"id": "ticker", "kind": "ticker", "price_per_second": PRICE}


class Balancer:
    """Gives connections to the servers in turn, as a Service of Kubernetes does, and passes by one that is away."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._turn = itertools.count()
        self.served: set[int] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self._stack.servers:
            number = next(self._turn) % len(self._stack.servers)
            try:
                link = await asyncio.open_connection("127.0.0.1", urlsplit(self._stack.server_urls[number]).port)
            except ConnectionError:
                continue
            self.served.add(number)
            await asyncio.gather(_pass(reader, link[1]), _pass(link[0], writer))
            return
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def installed(cluster: Cluster, folder: Path) -> AsyncIterator[tuple[Stack, Balancer, str]]:
    token, resources = folder / "token", folder / "resources.toml"
    token.write_text(cluster.token())
    resources.write_text(f'[[resources]]\nid = "ticker"\nkind = "ticker"\nprice_per_second = {PRICE}\n')
    port = free_port()
    stack = Stack(
        folder,
        authority=Authority(folder / "tls"),
        gateway_settings={
            "GATEWAY_API_KEY": "",
            "KUBERNETES_IDENTITY": json.dumps(cluster.settings, default=str),
        },
        server_settings={
            "GATEWAY_API_KEY": "",
            "GATEWAY_TOKEN_FILE": str(token),
            "RESOURCES": "",
            "RESOURCES_FILE": str(resources),
            "DRAIN_SECONDS": "1",
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
        },
    )
    balancer = Balancer(stack)
    listener = await asyncio.start_server(balancer.serve, "127.0.0.1", port)
    try:
        await asyncio.to_thread(stack.start, servers=2)
        yield stack, balancer, f"http://127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(stack.stop)
        listener.close()


async def both_sell_at(url: str, price: int) -> None:
    """Until the gateway gives invoices at this price, by what was renewed, to both servers, which take turns."""
    prices: list[int] = []
    async with asyncio.timeout(30), httpx.AsyncClient() as http:
        while len(prices) < 4 or set(prices[-4:]) != {price}:
            answer = await http.get(f"{url}/ws402/schema/ticker?duration=60")
            prices.append(answer.json()["pricing"]["pricePerSecond"] if answer.is_success else 0)
            await asyncio.sleep(0.1)


async def test_a37_a_paid_session_over_rotation_a_rolling_restart_and_new_prices(
    cluster: Cluster, tmp_path: Path, make_wallet: MakeWallet
) -> None:
    async with installed(cluster, tmp_path) as (stack, balancer, url):
        wallet: EvmWallet = make_wallet(stack.rpc_url, "0x" + "43" * 32)
        stack.rpc.fund(wallet.address, 10**18)
        options = {"resource": "ticker", "max_amount": 10**17, "duration": 300}
        async with connect(url, wallet=wallet, payees=[stack.merchant], **options) as session:
            await anext(session)
            # The cluster signs with another key, the kubelet renews the token, the certificate and prices change.
            cluster.rotate("rsa-next")
            (tmp_path / "token").write_text(cluster.token())
            assert stack.authority is not None
            stack.authority.issue("gateway")
            prices = tmp_path / "resources.toml"
            prices.write_text(prices.read_text().replace(str(PRICE), str(5 * PRICE)))
            await both_sell_at(url, 5 * PRICE)
            assert await session.top_up(60) == 60 * PRICE  # its own price, whichever server was asked
            token = session.payments[0].resume_token
            for number in (0, 1):  # one after the other, as a rolling update does
                await asyncio.to_thread(stack.servers[number].restart)
            while session.payments[0].resume_token == token:
                await anext(session)
            settlement = await session.end()
            refund = await session.refund(40)
        assert balancer.served == {0, 1}
        assert settlement.exact
        assert settlement.reason is EndReason.CLIENT_ENDED
        assert settlement.paid == 360 * PRICE == settlement.consumed + settlement.refund
        assert refund is not None
        assert refund.seen is True
        async with connect(url, wallet=wallet, payees=[stack.merchant], **options) as session:
            assert (await session.end()).paid == 1500 * PRICE
        logs = stack.logs()
        for secret in (stack.merchant_key[2:], stack.admin_key, cluster.token_file.read_text(), "eyJ"):
            assert secret not in logs
        audit = await asyncio.create_subprocess_exec(
            COMMAND,
            *("ops", "--url", stack.gateway_url, "audit"),
            env=os.environ | {"GATEWAY_ADMIN_KEY": stack.admin_key, "GATEWAY_CA_FILE": str(stack.authority.file)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await audit.communicate()
        assert audit.returncode == 0, told.decode()


async def test_a38_mutual_tls_is_turned_on_under_a_paid_session(tmp_path: Path, make_wallet: MakeWallet) -> None:
    """The server that holds the session has no certificate yet: another one goes on with it, and nothing is lost."""
    port = free_port()
    authority = Authority(tmp_path / "tls")
    stack = Stack(tmp_path, authority=authority, server_settings={"PUBLIC_URL": f"http://127.0.0.1:{port}"})
    balancer = Balancer(stack)
    listener = await asyncio.start_server(balancer.serve, "127.0.0.1", port)
    url = f"http://127.0.0.1:{port}"
    try:
        await asyncio.to_thread(stack.start)
        wallet: EvmWallet = make_wallet(stack.rpc_url, "0x" + "44" * 32)
        stack.rpc.fund(wallet.address, 10**18)
        options = {"resource": "ticker", "max_amount": 10**17, "duration": 300}
        async with connect(url, wallet=wallet, payees=[stack.merchant], **options) as session:
            await anext(session)
            pair = authority.issue("server")
            files = {"GATEWAY_CLIENT_CERT_FILE": str(pair.cert), "GATEWAY_CLIENT_KEY_FILE": str(pair.key)}
            await asyncio.to_thread(stack.add_server, **files)
            stack.gateway.environment["GATEWAY_TLS_CLIENT_CA_FILE"] = str(authority.file)
            await asyncio.to_thread(stack.gateway.restart)
            token = session.payments[0].resume_token
            # Which of both the client meets is up to the balancer; only one of them may open anything.
            drain = asyncio.create_task(asyncio.to_thread(stack.servers[0].stop))
            while session.payments[0].resume_token == token:
                await anext(session)
            settlement = await session.end()
            await drain
        assert settlement.exact
        assert settlement.reason is EndReason.CLIENT_ENDED
        assert settlement.paid == 300 * PRICE == settlement.consumed + settlement.refund
        async with connect(url, wallet=wallet, payees=[stack.merchant], **options) as session:
            await anext(session)
            assert (await session.end()).paid == 300 * PRICE
    finally:
        await asyncio.to_thread(stack.stop)
        listener.close()
