"""`ws402 pay` as a person or a script uses it: a real process against a real server and chain."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from tests.client.conftest import OurServer
from tests.client.scripted import PRICE, Peer, ScriptedServer, honest
from tests.fixtures.evm import Evm
from tests.fixtures.processes import COMMAND, clean_environment

NODE = ("--solana-rpc", "http://127.0.0.1:9")
LEAKED = "5a5a5a" + "A" * 82
"""Looks like a key pair in base58."""

Pay = Callable[..., Awaitable[Process]]


@pytest.fixture
def key(chain: Evm) -> str:
    return "0x" + chain.account().key.hex()


@pytest.fixture
async def pay(chain: Evm, key: str, tmp_path: Path) -> AsyncIterator[Pay]:
    """Starts `ws402 pay` with a key in the environment and a store of its own; more variables by `env`."""
    started: list[Process] = []

    async def start(*arguments: str, env: dict[str, str] | None = None) -> Process:
        base = {"WS402_RPC_URL": chain.url, "WS402_PRIVATE_KEY": key, "XDG_STATE_HOME": str(tmp_path)}
        process = await asyncio.create_subprocess_exec(
            COMMAND, "pay", *arguments, env=clean_environment(base | (env or {})), stdout=PIPE, stderr=PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def finish(process: Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_pay_stream_leave_and_see_the_refund(ours: OurServer, pay: Pay, tmp_path: Path) -> None:
    status, out, err = await finish(
        await pay(f"{ours.url}/#ticker", "--max", "0.01 ETH", "--duration", "60", "--leave-after", "1.5", "--trust")
    )
    assert status == 0, err
    assert json.loads(out.splitlines()[0])["type"] == "tick"
    assert "0.00001 ETH a second. Paying 0.0006 ETH for 60 s to 0x" in err
    assert "Ended (client ended): paid 0.0006 ETH, used 0.0000" in err
    assert "Refund 0.0005" in err
    assert "\x1b" not in out + err, "no control codes where there is no terminal"
    assert "\r" not in out + err
    assert (tmp_path / "ws402" / "payments.db").stat().st_mode & 0o777 == 0o600
    assert ours.provider.audit() == 0


async def test_json_lines_tell_it_all_without_secrets(ours: OurServer, pay: Pay, key: str) -> None:
    status, out, err = await finish(
        await pay(f"{ours.url}/#ticker", "--max", "0.01", "--duration", "60", "--leave-after", "1", "--trust", "--json")
    )
    assert (status, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["offer", "paid"]
    assert kinds[-2:] == ["settled", "refund"]
    assert {"usage", "message"} <= set(kinds)
    settled, refund = events[-2:]
    assert settled["paid"] == settled["consumed"] + settled["refund"] == 60 * PRICE == events[0]["amount"]
    assert (refund["amount"], refund["state"]) == (settled["refund"], "final")
    assert key.removeprefix("0x") not in out
    assert not any(invoice in out for invoice in ours.provider.service.book.invoices), "the reference is a secret"


async def test_interrupting_ends_the_session_and_shows_the_refund(ours: OurServer, pay: Pay) -> None:
    process = await pay(f"{ours.url}/#ticker", "--max", "0.01", "--duration", "60", "--trust")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGINT)
    status, _, err = await finish(process)
    assert status == 0, err
    assert "Ended (client ended)" in err
    assert "Refund 0.0005" in err
    assert {each.state for each in ours.provider.sessions.values()} == {"ended"}


async def test_interrupting_twice_ends_the_program(scripted: ScriptedServer, pay: Pay) -> None:
    async def never_end(peer: Peer) -> None:
        await peer.start(resumeToken="t", maxSessionDuration=60)
        await peer.socket.send("one")
        while True:
            await peer.socket.recv()

    scripted.script = never_end
    process = await pay(f"{scripted.url}/#ticker", "--max", "0.01", "--duration", "60", "--trust")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert (await finish(process))[0] == 130


async def test_a_killed_payer_goes_on_with_its_session(ours: OurServer, pay: Pay) -> None:
    arguments = (f"{ours.url}/#ticker", "--max", "0.01", "--duration", "60", "--trust")
    process = await pay(*arguments)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.kill()
    await process.communicate()
    status, out, err = await finish(await pay(*arguments, "--leave-after", "1.2"))
    assert status == 0, err
    assert out
    assert len(ours.provider.sessions) == 1
    assert ours.provider.audit() == 0


async def test_a_payer_that_was_asleep_goes_on_with_its_session(ours: OurServer, pay: Pay) -> None:
    """A laptop that was closed: its server has given the socket up meanwhile, as it does when no ping is answered."""
    process = await pay(f"{ours.url}/#ticker", "--max", "0.01", "--duration", "60", "--trust")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGSTOP)
    (session,) = ours.provider.sessions.values()
    epoch = session.epoch
    next(iter(ours.server.sessions.live.values())).socket.transport.abort()
    async with asyncio.timeout(30):
        while session.state != "released":
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        while session.epoch == epoch:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status, _, err = await finish(process)
    assert status == 0, err
    assert "Ended (client ended)" in err
    assert len(ours.provider.sessions) == 1
    assert ours.provider.audit() == 0


async def test_a_payment_that_was_not_used_is_used_by_the_next_call_and_said_so(
    scripted: ScriptedServer, pay: Pay
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.send("payment_rejected", reason="Too young.", code="transfer_unconfirmed")
        await peer.socket.close(1008)

    scripted.script = refuse
    arguments = (f"{scripted.url}/#ticker", "--max", "0.01", "--duration", "60", "--trust", "--json")
    process = await pay(*arguments)
    assert process.stdout is not None
    paid = [json.loads(await asyncio.wait_for(process.stdout.readline(), 30)) for _ in range(2)][-1]
    process.kill()
    await process.communicate()
    scripted.script = honest
    status, out, err = await finish(await pay(*arguments, "--leave-after", "0.2", "--refund-wait", "0"))
    assert status == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events[:2]] == ["reused", "paid"]
    assert {event["txHash"] for event in events[:2]} == {paid["txHash"]}
    assert scripted.schemas == 1
    scripted.refusals = [404]
    status, _, err = await finish(await pay(*arguments[:-1]))
    assert (status, "Nothing was paid" in err) == (3, True)


async def test_what_a_server_sends_cannot_steer_the_terminal(scripted: ScriptedServer, pay: Pay) -> None:
    async def rude(peer: Peer) -> None:
        await peer.send("payment_rejected", reason="\x1b[2Jgone\x07", code="already_claimed")
        await peer.socket.close(1008)

    scripted.script = rude
    status, _, err = await finish(await pay(f"{scripted.url}/#ticker", "--max", "0.01", "--duration", "60", "--trust"))
    assert status == 4
    assert "gone" in err
    assert "\x1b" not in err
    assert "\x07" not in err


@pytest.mark.parametrize(
    ("arguments", "env", "status", "says"),
    [
        (["--max", "0.0001", "--trust"], {}, 3, "raise the cap"),
        (["--max", "0.01"], {}, 3, "which you have not approved"),
        (["--max", "0.01", "--payee", "0x" + "0b" * 20], {}, 3, "not among your payees"),
        (["--max", "0.01", "--trust", "--network", "base"], {}, 3, "limited to base"),
        (["--max", "0.01", "--trust", "--asset", "usdc", "--network", "base-sepolia"], {}, 3, "no number"),
        (["--max", "0,01", "--trust"], {}, 2, "not an amount"),
        (["--max", "-1", "--trust"], {}, 2, "not an amount"),
        (["--max", "0", "--trust"], {}, 2, "greater than zero"),
        (["--max", "0.01", "--trust", "--asset", "gold"], {}, 2, "is no asset"),
        (["--trust"], {}, 2, "--max"),
        (["--max", "0.01", "--trust"], {"WS402_PRIVATE_KEY": "0x1234"}, 2, "private key is not 32 bytes"),
        (["--max", "0.01", "--trust"], {"WS402_PRIVATE_KEY": ""}, 2, "--key-file PATH"),
        (["--max", "0.01", "--trust"], {"WS402_RPC_URL": ""}, 2, "WS402_RPC_URL"),
        (["--max", "0.01", "--trust"], {"WS402_RPC_URL": "http://127.0.0.1:9"}, 1, "127.0.0.1:9 does not answer"),
        (["--max", "0.01", "--trust"], {"WS402_PRIVATE_KEY": "0x" + "77" * 32}, 3, "Top it up"),
        (["--max", "0.01", "--trust", "--key-file", "/nowhere/key"], {}, 2, "cannot be read: No such file"),
        (["--max", "0.01", "--trust", "--key-file", "0x" + "5a" * 32], {}, 2, "was given a key, not a path"),
        (["--max", "0.01", "--trust", "--store", "/proc/store.db"], {}, 2, "cannot be used"),
        (["--max", "0.01", "--trust", "--network", "solana"], {}, 2, "WS402_SOLANA_RPC_URL"),
        (["--max", "0.01", "--trust", "--network", "solana", *NODE], {}, 2, "WS402_SOLANA_PRIVATE_KEY"),
        (["--max", "0.01", "--trust", "--network", "solana", *NODE, "--solana-key-file", LEAKED], {}, 2, "not a path"),
        (["--max", "0.01", "--trust", "--network", "solana", *NODE], {"WS402_SOLANA_PRIVATE_KEY": "0x12"}, 2, "base58"),
        (["--max", "0.01", "--trust", *NODE], {"WS402_PRIVATE_KEY": ""}, 2, "WS402_PRIVATE_KEY"),
        (["--max", "0.01", "--trust", "--resource", "other"], {}, 2, "names the resource 'ticker'"),
    ],
)
async def test_every_mistake_ends_in_one_clear_line(
    scripted: ScriptedServer, pay: Pay, arguments: list[str], env: dict[str, str], status: int, says: str
) -> None:
    process = await pay(f"{scripted.url}/#ticker", "--duration", "60", *arguments, env=env)
    ended, out, err = await finish(process)
    assert ended == status, err
    assert says in err
    assert out == ""
    assert "Traceback" not in err
    if "Usage:" not in err:
        assert [line.startswith("ws402: ") for line in err.splitlines()].count(True) == 1
    assert "5a5a5a" not in err
    assert scripted.hellos == []


async def test_the_key_is_read_from_a_file_and_an_open_one_is_warned_about(
    ours: OurServer, pay: Pay, key: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(key + "\n")
    for mode, warned in ((0o600, False), (0o644, True)):
        path.chmod(mode)
        more = ("--key-file", str(path), "--leave-after", "0.2", "--trust", "--refund-wait", "0")
        status, _, err = await finish(
            await pay(f"{ours.url}/#ticker", "--max", "0.01", *more, env={"WS402_PRIVATE_KEY": ""})
        )
        assert status == 0, err
        assert ("other users can read" in err) is warned


async def test_a_token_is_paid_with_the_cap_in_its_own_coins(
    scripted: ScriptedServer, pay: Pay, chain: Evm, key: str
) -> None:
    token = chain.token()
    account = Account.from_key(key)
    chain.send(account, token.address, data=token.data("mint", account.address, 10**9))

    def ask(schema: dict[str, Any]) -> None:
        details = schema["paymentDetails"]
        details.update(currency="ERC20", tokenAddress=token.address, asset="DUSD", decimals=6)
        details.update(amount=60_000, amountWei=60_000, amountETH="0.06")
        schema["pricing"].update(pricePerSecond=1000, totalPrice=60_000)

    scripted.change = ask
    scripted.started.update(balance=60_000, pricePerSecond=1000)
    arguments = (f"{scripted.url}/#ticker", "--duration", "60", "--trust", "--asset", token.address)
    status, _, err = await finish(await pay(*arguments, "--max", "0.059999"))
    assert (status, "above your cap of 0.059999 DUSD" in err) == (3, True)
    status, _, err = await finish(await pay(*arguments, "--max", "0.06", "--leave-after", "0.2"))
    assert status == 0, err
    assert "Paying 0.06 0x" in err
