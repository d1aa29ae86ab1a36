"""`ws402 ops export`: what an accountant gets is the ledger, to the unit, and Beancount takes it."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from beancount import loader
from beancount.core import data
from click.testing import Result
from tests.cli.test_ops import gateway, ops, owe
from tests.fixtures.evm import Evm

from ws402.cli.ops.beancount import Writer, account, commodity, component, padded, quoted
from ws402.errors import WS402Error
from ws402.gateway.ledger.entries import balances, move, post
from ws402.gateway.run.gateway import Gateway

__all__ = ["gateway"]  # the fixture
World = tuple[Gateway, Evm]
BEAN_CHECK = Path(sys.executable).parent / "bean-check"


async def exported(running: Gateway, *options: str) -> str:
    """Today's entries too: the tests make no others meanwhile, or look at one that is told as not whole."""
    last = dt.datetime.now(dt.UTC).date().isoformat()
    done: Result = await ops(running, "export", "--to", last, *options)
    assert done.exit_code == 0, done.output
    return done.output


async def held(running: Gateway) -> dict[tuple[str, str], int]:
    """Debits minus credits of the ledger's accounts, by root account and asset."""
    async with running.database.read() as connection:
        found = await balances(connection)
    sign = {"chain": 1, "gas": 1}
    return {(name, asset): sign.get(name, -1) * amount for (name, _, asset), amount in found.items()}


def units(leg: data.Posting) -> Any:
    assert leg.units is not None
    return leg.units


def loaded(text: str, folder: Path) -> tuple[list[Any], dict[tuple[str, str], Decimal]]:
    """What Beancount makes of it: directives, and sums by account and currency."""
    file = folder / "ledger.beancount"
    file.write_text(text)
    checked = subprocess.run([BEAN_CHECK, file], capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    directives, errors, _ = loader.load_file(str(file))
    assert errors == []
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for each in directives:
        if isinstance(each, data.Transaction):
            for leg in each.postings:
                sums[leg.account, units(leg).currency] += units(leg).number
    return directives, sums


async def stopped(running: Gateway, evm: Evm) -> str:
    """A session whose refund is owed, and a gateway that moves no money any more."""
    await ops(running, "signers", "pause", "base-sepolia", "--reason", "the books are looked at")
    return await owe(running, evm)


async def test_beancount_takes_the_ledger_and_holds_what_it_holds(gateway: World, tmp_path: Path) -> None:
    running, evm = gateway
    await stopped(running, evm)
    directives, sums = loaded(await exported(running, "--format", "beancount"), tmp_path)
    want = await held(running)
    assert want["revenue", "ETH"] == -6 * 10**14
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for (name, _), amount in sums.items():
        totals[name.split(":")[2]] += amount
    assert {name: int(amount.scaleb(18)) for name, amount in totals.items()} == {
        {"chain": "Chain", "unclaimed": "Unclaimed", "session_escrow": "Escrow", "payer_due": "PayerDue",
         "revenue": "Revenue", "capital": "Capital"}[name]: amount for (name, _), amount in want.items()
    }  # fmt: skip
    assert sums["Income:WS402:Revenue:Base-sepolia:Default:Feed", "ETH.BASE-SEPOLIA"] == Decimal("-0.0006")
    assert sum(isinstance(each, data.Balance) for each in directives) == len(sums)
    claim = next(each for each in directives if isinstance(each, data.Transaction) and each.narration == "claim")
    assert (claim.meta["tenant"], claim.meta["resource"]) == ("default", "feed")
    (payment,) = json.loads((await ops(running, "--json", "payments")).output)["payments"]
    assert claim.meta["tx"] == payment["tx"]


async def test_a_unit_that_is_missing_is_told_by_beancount(gateway: World, tmp_path: Path) -> None:
    running, evm = gateway
    await stopped(running, evm)
    text = await exported(running, "--format", "beancount")
    file = tmp_path / "wrong.beancount"
    for old, new in (
        ("  0.000600000000000000 ETH", "  0.000600000000000001 ETH"),
        ("600000000000000 ~", "600000000000001 ~"),
    ):
        assert old in text
        file.write_text(text.replace(old, new, 1))
        assert subprocess.run([BEAN_CHECK, file], capture_output=True, check=False, timeout=60).returncode == 1


async def test_days_before_are_an_opening_balance(gateway: World, tmp_path: Path) -> None:
    running, evm = gateway
    await stopped(running, evm)
    long_ago = int(dt.datetime(2024, 2, 29, 23, 59, 59, 999000, tzinfo=dt.UTC).timestamp() * 1000)
    async with running.database.begin() as connection:
        moved = ("base-sepolia", "ETH", 5000, "capital", "base-sepolia/0xab")
        await post(connection, [move("chain", "capital", *moved, long_ago)])
    directives, sums = loaded(await exported(running, "--from", "2024-03-01", "--format", "beancount"), tmp_path)
    first, *others = [each for each in directives if isinstance(each, data.Transaction)]
    assert (first.narration, first.date) == ("opening balances", dt.date(2024, 3, 1))
    assert [units(leg).number for leg in first.postings] == [Decimal("5E-15"), Decimal("-5E-15")]
    assert {"transfer", "claim", "settle"} <= {each.narration for each in others}
    want = await held(running)
    assert int(sums["Assets:WS402:Chain:Base-sepolia", "ETH.BASE-SEPOLIA"].scaleb(18)) == want["chain", "ETH"]
    rows = list(csv.DictReader(io.StringIO(await exported(running, "--from", "2024-03-01"))))
    assert "capital" not in {row["kind"] for row in rows}
    rows = list(csv.DictReader(io.StringIO(await exported(running, "--from", "2024-02-29"))))
    assert "2024-02-29T23:59:59.999Z" in {row["time"] for row in rows}
    before = await ops(running, "export", "--to", "2020-01-01")
    assert (before.exit_code, before.output.count("\n")) == (0, 1)


async def test_csv_and_json_have_every_entry_with_its_amount_in_units_and_coins(gateway: World) -> None:
    running, evm = gateway
    refund_id = await stopped(running, evm)
    rows = list(csv.DictReader(io.StringIO(await exported(running))))
    lines = [json.loads(line) for line in (await exported(running, "--format", "jsonl")).splitlines()]
    assert [{name: "" if value is None else str(value) for name, value in line.items()} for line in lines] == rows
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        sums[row["debit"], row["asset"]] += int(row["amount"])
        sums[row["credit"], row["asset"]] -= int(row["amount"])
        assert Decimal(row["coins"]).scaleb(18) == int(row["amount"])
        assert row["day"] == row["time"][:10]
    assert dict(sums) == await held(running)
    revenue = next(row for row in rows if row["credit"] == "revenue")
    assert (revenue["tenant"], revenue["resource"], revenue["coins"]) == ("default", "feed", "0.000600000000000000")
    assert refund_id.startswith("ref_")


async def test_entries_that_are_not_what_the_ledger_holds_are_told(
    gateway: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, evm = gateway
    await stopped(running, evm)

    async def another(*_: Any) -> Any:
        return {**found, ("chain", "base-sepolia", "ETH"): found["chain", "base-sepolia", "ETH"] + 1}

    async with running.database.read() as connection:
        found = await balances(connection)
    monkeypatch.setattr("ws402.gateway.books.accounts.balances", another)
    done = await ops(running, "export", "--to", dt.datetime.now(dt.UTC).date().isoformat())
    assert done.exit_code == 3
    assert "NOT WHOLE: chain/base-sepolia/ETH differ from the ledger." in done.output
    turned = await ops(running, "export", "--from", "2030-01-02", "--to", "2030-01-01")
    assert turned.exit_code == 2
    assert "--from 2030-01-02 is after --to 2030-01-01." in turned.output


async def test_money_that_an_operator_moved_has_its_transaction(gateway: World, tmp_path: Path) -> None:
    running, _ = gateway
    tx = "0x" + "ab" * 32
    assert (await ops(running, "signers", "deposit", "base-sepolia", "ETH", "5000", tx)).exit_code == 0
    directives, _ = loaded(await exported(running, "--format", "beancount"), tmp_path)
    (moved,) = [each for each in directives if isinstance(each, data.Transaction) and each.narration == "capital"]
    assert moved.meta["tx"] == tx
    assert units(moved.postings[0]).number == Decimal("0.000000000000005")


def test_names_are_ones_that_beancount_takes_and_no_two_meet(tmp_path: Path) -> None:
    symbols = ("USDC", "usdc", "USDC.e", "USDC-e", "1INCH", "ETH", "A", "$$", "VERYLONGTOKENNAME", "VERYLONGTOKENNAMES")
    assets = [("base", each) for each in symbols]
    assets += [("bsc", "USDC"), ("a-network-with-a-long-name", "ETH"), ("a-network-with-a-long-nam", "ETH")]
    resources = [
        "feed",
        "Feed",
        "feed_1",
        "feed.1",
        "FEED",
        "9",
        "ü",
        "",
        " ",
        "=x",
        'a "b"\n',
        "-",
        "a" * 90,
        "a" * 91,
    ]
    assert len({commodity(*each) for each in assets}) == len(assets)
    assert len({account("revenue", "base", "default", each) for each in resources}) == len(resources)
    rows: list[dict[str, Any]] = [
        {
            "entry": 1, "day": "2026-01-02", "time": "2026-01-02T00:00:00Z", "kind": 'a "b"\n\\', "subject": "x",
            "tx": None, "tenant": "default", "resource": resource, "network": network, "asset": asset,
            "amount": str(10**27 + 1), "debit": "session_escrow", "credit": "revenue",
        }
        for network, asset in assets
        for resource in resources
    ]  # fmt: skip
    names = {
        account(side, row["network"], "default", row["resource"])
        for row in rows
        for side in ("revenue", "session_escrow")
    }
    writer = Writer({**dict.fromkeys(assets, 18), assets[0]: 0}, dt.date(2026, 1, 1), dt.date(2026, 1, 2))
    lines = list(writer.head(names, {}))
    for row in rows:
        lines += writer.entry(row)
    lines += writer.tail()
    directives, sums = loaded("\n".join(lines) + "\n", tmp_path)
    assert len(sums) == 2 * len(rows)
    assert sum(isinstance(each, data.Balance) for each in directives) == len(sums)
    for _ in range(9):
        lines += writer.entry(rows[0])
    sold = [line for line in writer.tail() if "more digits than Beancount adds" in line]
    assert len(sold) == 2, "a sum that Beancount would round is not asserted"
    with pytest.raises(WS402Error, match=r"have more digits than Beancount calculates with\. Export csv or jsonl\."):
        list(writer.entry({**rows[0], "amount": str(10**28)}))


def test_amounts_keep_all_their_decimals() -> None:
    assert [padded(*each) for each in ((15, 1), (-5, 2), (15, 0), (0, 3), (10**30, 18))] == [
        "1.5", "-0.05", "15", "0.000", f"{10**12}.{'0' * 18}"
    ]  # fmt: skip
    assert component("feed") == "Feed"
    assert commodity("base", "USDC") == "USDC.BASE"
    assert quoted('a "b"\n\\') == '"a \\"b\\" \\\\"'
