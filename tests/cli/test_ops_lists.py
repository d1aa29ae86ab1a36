"""`ws402 ops` for people: coins and times, what is searched for, page by page; who did what, and what was earned."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shlex

import pytest
from click.testing import CliRunner
from tests.cli.test_ops import ADMIN_KEY, gateway, ops, owe
from tests.fixtures.evm import ETHER, Evm

from ws402.cli import cli
from ws402.errors import WS402Error
from ws402.gateway.auth.stored import issue_key
from ws402.gateway.books.lists import Search
from ws402.gateway.books.tally import DAY_MS, Tally, last_before
from ws402.gateway.run.gateway import Gateway

__all__ = ["gateway"]  # the fixture
World = tuple[Gateway, Evm]


async def test_amounts_are_coins_and_times_iso_unless_raw_is_asked(gateway: World) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    listed = (await ops(running, "sessions")).output
    assert " 0.001 ETH " in listed
    assert " 0.0006 ETH " in listed
    assert dt.datetime.now(dt.UTC).strftime(" %Y-%m-%dT") in listed
    raw = (await ops(running, "--raw", "sessions")).output
    assert f" {10**15} " in raw
    assert "0.001 ETH" not in raw
    assert "0.0004 ETH" in (await ops(running, "refunds", "list")).output
    assert "0 ETH" in (await ops(running, "audit")).output
    told = (await ops(running, "find", refund_id)).output
    assert "used      0.0006 ETH of 0.001 ETH" in told
    assert f"used      {6 * 10**14} ETH of {10**15} ETH" in (await ops(running, "--raw", "find", refund_id)).output
    row = json.loads((await ops(running, "--json", "sessions")).output)["sessions"][0]
    assert (row["paid"], type(row["openedAt"])) == (10**15, int)


async def test_lists_are_searched_by_payer_transaction_resource_and_time(gateway: World) -> None:
    running, evm = gateway
    await owe(running, evm)
    await owe(running, evm)
    answer = json.loads((await ops(running, "--json", "payments")).output)
    one, other = answer["payments"]

    async def found(command: tuple[str, ...], *search: str) -> list[str]:
        done = await ops(running, "--json", *command, *search)
        assert done.exit_code == 0, done.exception
        rows = json.loads(done.output)[command[0]]
        return [each.get("sessionId") or each["id"] for each in rows]

    ours = [one["sessionId"]]
    today, tomorrow = dt.datetime.now(dt.UTC).date(), dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    for command in (("sessions",), ("payments",), ("refunds", "list")):
        assert await found(command, "--payer", one["payer"].lower()) == ours
        assert await found(command, "--tx", one["tx"].upper().replace("0X", "0x")) == ours
        assert await found(command, "--resource", "elsewhere") == []
        assert await found(command, "--resource", "feed", "--network", "base-sepolia", "--limit", "1") == ours
        assert await found(command, "--since", str(tomorrow)) == []
        assert await found(command, "--since", f"{today}T00:00:00Z", "--until", str(tomorrow)) == [
            one["sessionId"],
            other["sessionId"],
        ]
        assert await found(command, "--until", str(today)) == []
    refused = await ops(running, "sessions", "--since", "yesterday")
    assert refused.exit_code == 2


async def test_a_page_prints_the_whole_command_for_the_next(gateway: World) -> None:
    running, evm = gateway
    await owe(running, evm)
    await owe(running, evm)
    first = await ops(running, "sessions", "--state", "ended", "--limit", "1")
    more = next(line for line in first.stderr.splitlines() if line.startswith("more: "))
    words = shlex.split(more.removeprefix("more: "))
    assert words[:3] == ["ws402", "ops", "sessions"]
    second = await ops(running, *words[2:])
    assert second.exit_code == 0, second.exception
    one, other = (each.stdout.splitlines()[1].split()[0] for each in (first, second))
    assert one.startswith("ses_")
    assert one > other
    assert "more: " not in second.stderr


async def test_unclaimed_money_is_paged_without_losing_any(gateway: World) -> None:
    running, evm = gateway
    chain = next(iter(running.chains.values()))
    giver = await asyncio.to_thread(evm.account, ETHER)
    sent = {await asyncio.to_thread(evm.send, giver, chain.recipient, value=value) for value in (7, 8, 9)}
    for _ in range(200):
        found = (await running.service.lists.unclaimed(Search())).rows
        if {each["tx"] for each in found} >= sent:
            break
        await asyncio.sleep(0.05)
    seen, before = [], None
    while True:
        page = await running.service.lists.unclaimed(Search(limit=1, before=before, payer=giver.address.lower()))
        seen += [each["tx"] for each in page.rows]
        before = page.next
        if before is None:
            break
    assert sorted(seen) == sorted(sent)
    told = await ops(running, "unclaimed", "list", "--before", "nonsense")
    assert "which no page ends with" in str(told.exception)


async def test_a_search_without_an_index_looks_at_a_window_and_says_where_to_go_on(
    gateway: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, evm = gateway
    monkeypatch.setattr("ws402.gateway.books.lists.WINDOW", 1)
    await owe(running, evm)
    old = (await running.service.lists.sessions(Search())).rows[0]
    await owe(running, evm)
    await owe(running, evm)
    page = await running.service.lists.sessions(Search(payer=old["payer"]))
    assert page.rows == []
    for _ in range(3):
        if page.rows or page.next is None:
            break
        page = await running.service.lists.sessions(Search(payer=old["payer"], before=page.next))
    assert [each["id"] for each in page.rows] == [old["id"]]


async def test_what_is_watched_is_shown_so_often_and_ends(gateway: World) -> None:
    running, _ = gateway
    shown = await ops(running, "sessions", "--watch", "0.2", "--times", "3")
    assert shown.exit_code == 0, shown.exception
    assert shown.output.count("every 0.2 s") == shown.output.count("(none)") == 3
    assert (await ops(running, "status", "--watch", "0.1")).exit_code == 2, "not that often"


async def test_the_audit_log_names_the_operator_and_a_reader_changes_nothing(gateway: World) -> None:
    running, evm = gateway
    refund_id = await owe(running, evm)
    _, alice = await issue_key(running.database, tenant="default", name="alice", scopes=frozenset({"admin"}))  # type: ignore[arg-type]
    reader_id, reader = await issue_key(running.database, tenant="default", name="bob", scopes=frozenset({"read"}))  # type: ignore[arg-type]
    await running._stored.refresh()
    assert (await ops(running, "refunds", "hold", refund_id, "--reason", "asked", key=alice)).exit_code == 0
    assert (await ops(running, "refunds", "list", key=reader)).exit_code == 0
    refused = await ops(running, "refunds", "release", refund_id, key=reader)
    assert isinstance(refused.exception, WS402Error)
    assert "lacks the scope 'admin'" in str(refused.exception)
    assert "lacks the scope" in str(
        (await ops(running, "--dry-run", "keys", "revoke", reader_id, key=reader)).exception
    )
    log = (await ops(running, "audit-log", "list", key=reader)).output
    (line,) = [each for each in log.splitlines() if "refunds/change" in each]
    assert "alice (key_" in line
    assert f"refundId={refund_id} action=hold reason=asked" in line
    assert "bob" not in log
    assert (await ops(running, "audit-log", "verify")).exit_code == 0


async def test_money_and_revenue_are_what_the_ledger_says(gateway: World) -> None:
    running, evm = gateway
    await ops(running, "signers", "pause", "base-sepolia", "--reason", "the books are looked at")
    await owe(running, evm)
    money = json.loads((await ops(running, "--json", "money")).output)
    (eth,) = money["money"]
    assert money["through"] == money["newest"]
    # The float itself may have come when the gateway looked already; nobody claims it.
    assert int(eth["taken"]) - int(eth["unclaimed"]) == 10**15
    assert (eth["used"], eth["refunded"], eth["held"], eth["owed"]) == (6 * 10**14, 0, 0, 4 * 10**14)
    assert " 0.0006 ETH " in (await ops(running, "money")).output
    today = dt.datetime.now(dt.UTC).date().isoformat()
    report = (await ops(running, "revenue")).output
    assert report.splitlines()[1].split() == [today, "base-sepolia", "feed", "0.0006", "ETH"]
    by_tenant = await ops(running, "revenue", "--by", "tenant", "--format", "csv")
    assert by_tenant.output == f"network,asset,tenant,revenue\nbase-sepolia,ETH,default,{6 * 10**14}\n"
    assert (await ops(running, "revenue", "--to", "2020-01-01")).output.endswith("(none)\n")
    assert (await ops(running, "revenue", "--by", "payer")).exit_code == 2


async def test_the_count_of_today_ends_at_midnight_and_goes_on_in_parts(
    gateway: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, evm = gateway
    await owe(running, evm)
    now = running.database.now_ms()
    monkeypatch.setattr("ws402.gateway.books.tally.CHUNK", 1)
    times = iter(range(10_000))
    later = Tally(running.database, clock=lambda: float(next(times)))
    monkeypatch.setattr(running.database, "now_ms", lambda: now + DAY_MS)
    partial = await later.read()
    assert partial.through < partial.newest
    for _ in range(200):
        if (count := await later.read()).through == count.newest:
            break
    (eth,) = count.money
    assert (eth.taken, eth.used) == (0, 0), "nothing came on the next day"
    assert eth.funds >= 10**15
    async with running.database.read() as connection:
        assert await last_before(connection, 0) == 0
        assert await last_before(connection, now + DAY_MS) == count.newest


def test_a_command_that_is_asked_wrongly_says_how() -> None:
    done = CliRunner().invoke(cli, ["ops", "sessions", "--limit", "0"], env={"GATEWAY_ADMIN_KEY": ADMIN_KEY})
    assert done.exit_code == 2
