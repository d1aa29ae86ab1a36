"""`ws402 pay`: pay for a resource in a terminal and stream it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import httpx

from ws402.cli.pay_output import JsonOutput, Output, TextOutput
from ws402.cli.pay_wallet import Means, choose, units, wallet_options
from ws402.client import (
    Offer,
    OfferError,
    Options,
    OverchargedError,
    PaymentFailedError,
    PaymentPendingError,
    PaymentRejectedError,
    PolicyError,
    Session,
    SessionLostError,
    SocketUnavailableError,
    Store,
    Wallet,
    WalletError,
    connect,
)
from ws402.client.policy import NATIVE, read_cap
from ws402.errors import ConfigurationError, InvalidRequestError, WS402Error
from ws402.money import from_decimal
from ws402.outgoing import http_client

METER_SECONDS: Final = 0.25
EXIT_ERROR, EXIT_USAGE, EXIT_REFUSED, EXIT_NO_SESSION, EXIT_BROKEN, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130

_EXITS: Final[tuple[tuple[type[WS402Error] | tuple[type[WS402Error], ...], int], ...]] = (
    ((ConfigurationError, InvalidRequestError), EXIT_USAGE),
    ((PolicyError, OfferError, WalletError, SocketUnavailableError), EXIT_REFUSED),
    ((PaymentRejectedError, PaymentFailedError, PaymentPendingError), EXIT_NO_SESSION),
    ((SessionLostError, OverchargedError), EXIT_BROKEN),
)


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked for on the command line."""

    url: str
    resource: str | None
    cap: str
    duration: int
    leave_after: float | None
    asset: str
    network: str | None
    payees: tuple[str, ...]
    trust: bool
    store: Path
    payment_id: str | None
    download: Path | None
    refund_wait: float
    insecure: bool


@click.command("pay")
@click.argument("url")
@click.option(
    "--max", "cap", required=True, metavar="COINS", help="The most that the session may cost: 0.005, or '5 USDC'."
)
@click.option("--duration", default=300, show_default=True, type=click.IntRange(1), help="Seconds to pay for.")
@click.option("--leave-after", type=click.FloatRange(0), metavar="SECONDS", help="End the session early.")
@click.option("--resource", help="Which resource, when the address does not say it.")
@click.option("--asset", default=NATIVE, show_default=True, help="'native', 'usdc' or a token's address.")
@click.option("--network", help="Pay on this network only; by default the one that the node serves.")
@click.option(
    "--payee", "payees", multiple=True, metavar="ADDRESS", help="Who may be paid; may be given several times."
)
@click.option("--trust", is_flag=True, help="Pay a server that you meet for the first time, and remember its payee.")
@wallet_options
@click.option("--store", type=click.Path(path_type=Path), metavar="PATH", help="File that remembers your payments.")
@click.option("--payment-id", help="Name of this payment: it is made once, however often you try.")
@click.option("--download", type=click.Path(path_type=Path), metavar="PATH", help="Save an HTTP resource here.")
@click.option("--refund-wait", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds.")
@click.option("--insecure", is_flag=True, help="Allow plain HTTP to another machine, in a network that you trust.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def command(
    *,
    url: str,
    cap: str,
    duration: int,
    leave_after: float | None,
    resource: str | None,
    asset: str,
    network: str | None,
    payees: tuple[str, ...],
    trust: bool,
    store: Path | None,
    payment_id: str | None,
    download: Path | None,
    refund_wait: float,
    insecure: bool,
    as_json: bool,
    **means: Any,
) -> None:
    """Pay for the resource at URL, stream it, and get back what was not used.

    URL is a WS402 server's address, such as https://host/#resource. The resource's messages go to standard output, the
    meter to standard error. Ctrl-C ends the session and shows the refund. Keys are read from files or variables,
    never from the command line, which other users can see. Give a node and a key for EVM networks, for Solana, or for
    both: the server's offer decides which of them pays.

    Exit status: 0 done, 1 other failure, 2 wrong usage, 3 nothing (more) was paid, by your limits or for want of a
    socket, 4 paid but no session (the
    payment is remembered: run the same again), 5 the session broke off, 130 interrupted twice.
    """
    order = _Order(
        url,
        resource,
        cap,
        duration,
        leave_after,
        asset,
        network,
        payees,
        trust,
        store or _default_store(),
        payment_id,
        download,
        refund_wait,
        insecure,
    )
    output: Output = JsonOutput() if as_json else TextOutput(0, "")
    try:
        sys.exit(asyncio.run(_pay(order, Means(**means), output, as_json=as_json)))
    except WS402Error as error:
        output.error(error)
        sys.exit(next((status for kind, status in _EXITS if isinstance(error, kind)), EXIT_ERROR))


def _default_store() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "ws402" / "payments.db"


async def _pay(order: _Order, means: Means, output: Output, *, as_json: bool) -> int:
    wallet = await choose(
        means,
        output.note,
        url=order.url,
        resource=order.resource,
        duration=order.duration,
        network=order.network,
        insecure=order.insecure,
    )
    try:
        if " " in order.cap.strip():
            cap, asset = read_cap(order.cap, order.asset, await wallet.chain())
            decimals, symbol = await units(asset, wallet)
        else:
            asset = order.asset
            decimals, symbol = await units(asset, wallet)
            cap = from_decimal(order.cap, decimals)
        if not as_json:
            output = TextOutput(decimals, symbol)
        return await _session(replace(order, asset=asset), wallet, cap, output)
    finally:
        await wallet.close()


async def _session(order: _Order, wallet: Wallet, cap: int, output: Output) -> int:
    stop = asyncio.Event()
    _on_interrupt(stop)

    def offered(offer: Offer) -> None:
        if stop.is_set():
            raise PolicyError("Interrupted; nothing was paid.", code="interrupted")
        output.offer(offer)

    options = Options(
        allow_plaintext=order.insecure,
        on_event=output.event,
        on_offer=offered,
        on_reuse=output.reused,
        on_payment=output.payment,
        on_wait=lambda why: output.note(f"Waiting: {why}"),
    )
    with Store(order.store) as store:
        async with connect(
            order.url,
            wallet=wallet,
            max_amount=cap,
            resource=order.resource,
            duration=order.duration,
            asset=order.asset,
            network=order.network,
            payees=order.payees,
            trust_first_use=order.trust,
            store=store,
            payment_id=order.payment_id,
            options=options,
        ) as session:
            failure = await _stream(session, order, stop, output)
            settlement = await session.end()
            output.settlement(settlement)
            if settlement.refund and order.refund_wait:
                output.refund(await session.refund(order.refund_wait))
            if failure is not None:
                raise failure
    return 0


async def _stream(session: Session, order: _Order, stop: asyncio.Event, output: Output) -> WS402Error | None:
    """Until the resource ends, the time is over, or the user has had enough; a session that broke is answered."""
    reading = asyncio.create_task(_read(session, output))
    waiting = asyncio.create_task(_wait(stop, order.leave_after))
    drawing = asyncio.create_task(_draw(session, output))
    watched: set[asyncio.Task[None]] = {reading, waiting}
    if order.download is not None:
        watched.add(asyncio.create_task(_download(session, order.download, output)))
    done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    for task in (*watched, drawing):
        task.cancel()
    await asyncio.gather(*watched, drawing, return_exceptions=True)
    for task in done:
        error = task.exception()
        if isinstance(error, WS402Error):
            return error
        if error is not None:
            raise error
    return None


async def _read(session: Session, output: Output) -> None:
    async for message in session:
        output.message(message)


async def _wait(stop: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


async def _draw(session: Session, output: Output) -> None:
    while True:
        output.meter(session)
        await asyncio.sleep(METER_SECONDS)


async def _download(session: Session, path: Path, output: Output) -> None:
    """Save the resource that the session opens over HTTP."""
    for _ in range(40):
        if session.http_access is not None:
            break
        await asyncio.sleep(0.1)
    else:
        raise InvalidRequestError("This resource is not served over HTTP.", remedy="Leave --download out.")
    access = session.http_access
    headers = {"Authorization": f"Bearer {access.http_token}"}
    size = 0
    try:
        async with (
            http_client(timeout=60) as http,
            http.stream("GET", access.resource_url, headers=headers) as answer,
        ):
            if not answer.is_success:
                raise SessionLostError(f"The resource answers {answer.status_code}.")
            with path.open("wb") as file:
                async for part in answer.aiter_bytes():
                    file.write(part)
                    size += len(part)
    except httpx.HTTPError as error:
        raise SessionLostError(f"The download broke off after {size} bytes ({type(error).__name__}).") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error
    output.note(f"Saved {size} bytes to {path}")


def _on_interrupt(stop: asyncio.Event) -> None:
    """The first signal ends the session in order, the second one the program."""

    def interrupted() -> None:
        if stop.is_set():
            os._exit(EXIT_INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, interrupted)
