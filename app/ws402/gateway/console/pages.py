"""The pages that only show: money, sessions, refunds, unclaimed payments, keys, cases and the audit.

Each asks what `ws402 ops` asks, a bounded number of rows at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from ws402.errors import InvalidRequestError, NotFoundError
from ws402.gateway.api.admin import AdminRoutes
from ws402.gateway.api.admin_messages import sought
from ws402.gateway.api.admin_reads import (
    REFUND_STATES,
    SESSION_STATES,
    AdminReads,
    FindQuery,
    IdQuery,
    ListQuery,
    RecordsQuery,
    RefundsQuery,
    SessionsQuery,
)
from ws402.gateway.console.shown import (
    Cell,
    Table,
    case_of,
    code,
    coins,
    link,
    number,
    plain,
    state,
    when,
)

ROWS: Final = 50
"""Of one page."""

Fields = dict[str, str]
Told = tuple[str, dict[str, Any]]
"""A template and what it shows."""


class Pages:
    """By path, what answers a GET of somebody who is signed in."""

    def __init__(self, reads: AdminReads, admin: AdminRoutes) -> None:
        self._reads = reads
        self._admin = admin
        self._comparing = asyncio.Lock()
        self.paths: Final[dict[str, Callable[[Fields], Awaitable[Told]]]] = {
            "/": self.money,
            "/sessions": self.sessions,
            "/refunds": self.refunds,
            "/refund": self.refund,
            "/unclaimed": self.unclaimed,
            "/keys": self.keys,
            "/search": self.search,
            "/case": self.case,
            "/audit": self.audit,
        }

    async def of(self, path: str, fields: Fields) -> Told:
        """The page at this path. Raises NotFoundError, and what the question raises."""
        page = self.paths.get(path)
        if page is None:
            raise NotFoundError("There is no such page.")
        return await page(fields)

    async def money(self, _: Fields) -> Told:
        """What today brought, what the accounts hold, and how the networks stand."""
        answer = await self._reads.money()
        names = ("taken", "used", "refunded", "fees", "held", "owed", "unclaimed", "funds")
        rows = [
            [
                plain(each["network"]),
                *(number(coins(each[name], each["network"], each["asset"], answer["decimals"])) for name in names),
            ]
            for each in answer["money"]
        ]
        heads = ("Network", "Taken", "Used", "Refunded", "Fees", "In sessions", "Owed", "Unclaimed", "Float")
        table = Table("Money", heads, rows, empty="Nothing was paid yet.")
        networks = [_network(each) for each in self._reads.networks()]
        of_networks = ("Network", "State", "Block", "Final block", "Refund key", "Refunds under way")
        return "money.html", {
            "table": table,
            "networks": Table("Networks", of_networks, networks),
            "counted": 100 if not answer["newest"] else 100 * answer["through"] // answer["newest"],
            "whole": answer["through"] == answer["newest"],
        }

    async def sessions(self, fields: Fields) -> Told:
        """Sessions, searched."""
        query = _query(SessionsQuery, fields)
        answer = await self._reads.sessions(query)
        rows = [
            [
                code(each["id"], case_of(each["id"])),
                state(each["state"]),
                plain(each["resourceId"]),
                *(
                    number(coins(each[name], each["network"], each["asset"], answer["decimals"]))
                    for name in ("paid", "consumed", "refunded")
                ),
                when(each["openedAt"]),
                code(each["payer"], case_of(each["payer"])),
                plain(each["network"]),
            ]
            for each in answer["sessions"]
        ]
        heads = ("Session", "State", "Resource", "Paid", "Used", "Refund", "Opened", "Payer", "Network")
        return _listed("Sessions", "/sessions", fields, heads, rows, answer["next"], SESSION_STATES)

    async def refunds(self, fields: Fields) -> Told:
        """Refunds, searched."""
        query = _query(RefundsQuery, fields)
        answer = await self._reads.refunds(query)
        rows = [
            [
                code(each["id"], link("/refund", id=each["id"])),
                state(each["state"]),
                number(coins(each["amount"], each["network"], each["asset"], answer["decimals"])),
                code(each["recipient"], case_of(each["recipient"])),
                plain(each["resourceId"]),
                when(each["createdAt"]),
                plain(each["reason"]),
                plain(each["network"]),
            ]
            for each in answer["refunds"]
        ]
        heads = ("Refund", "State", "Amount", "To", "Resource", "Made", "Reason", "Network")
        return _listed("Refunds", "/refunds", fields, heads, rows, answer["next"], REFUND_STATES)

    async def refund(self, fields: Fields) -> Told:
        """One refund, with all attempts to deliver it."""
        found = await self._reads.refund(_query(IdQuery, fields))
        decimals = self._reads.decimals
        native = self._reads.natives.get(found["network"], "")

        def amount(value: Any, asset: str) -> str:
            return "–" if value is None else coins(value, found["network"], asset, decimals)

        attempts = [
            [
                plain(each["number"]),
                plain(each["kind"]),
                code(each["tx"]),
                number(amount(each["maxFee"], native)),
                when(each["createdAt"]),
                when(each["sentAt"]),
            ]
            for each in found["attempts"]
        ]
        entries = [
            [plain(each["kind"]), plain(each["debit"]), plain(each["credit"]), number(amount(each["amount"], asset))]
            for each in found["entries"]
            for asset in [native if each["kind"] == "gas" else found["asset"]]
        ]
        return "refund.html", {
            "refund": found,
            "amount": amount(found["amount"], found["asset"]),
            "attempts": Table(
                "Attempts", ("No.", "Kind", "Transaction", "Highest fee", "Signed", "Sent"), attempts, empty="None yet."
            ),
            "entries": Table("Entries", ("Kind", "To account", "From account", "Amount"), entries),
        }

    async def unclaimed(self, fields: Fields) -> Told:
        """Money that pays for nothing yet."""
        answer = await self._reads.unclaimed(_query(ListQuery, fields))
        rows = [
            {
                "network": each["network"],
                "tx": each["tx"],
                "cells": [
                    number(coins(each["amount"], each["network"], each["asset"], answer["decimals"])),
                    code(each["sender"], case_of(each["sender"])),
                    when(each["blockTime"]),
                    Cell("an operator decides") if each["refundAt"] is None else when(each["refundAt"]),
                    code(each["tx"], case_of(each["tx"])),
                    plain(each["network"]),
                ],
            }
            for each in answer["transfers"]
        ]
        heads = ("Amount", "From", "Arrived", "Goes back by itself", "Transaction", "Network")
        _, told = _listed("Unclaimed", "/unclaimed", fields, heads, [], answer["next"], ())
        return "unclaimed.html", {**told, "heads": heads, "rows": rows}

    async def keys(self, _: Fields) -> Told:
        """Signing keys with what their accounts hold, and API keys."""
        accounts = await self._reads.accounts()
        decimals = self._reads.decimals
        signing = [
            {
                "network": each["network"],
                "role": each["role"],
                "paused": each["paused"],
                "signs": each["signs"],
                "address": each["address"],
                "state": each["state"],
                "held": [
                    "does not answer" if amount is None else coins(amount, each["network"], asset, decimals)
                    for asset, amount in each["balances"].items()
                ],
            }
            for each in accounts
        ]
        listed = await self._admin.api_keys()
        return "keys.html", {"signing": signing, "keys": listed["keys"][-500:]}

    async def search(self, _: Fields) -> Told:
        """The form; it is sent by POST, for a reference is a secret."""
        return "search.html", {}

    async def case(self, fields: Fields) -> Told:
        """The cases of one payer, transaction, session or invoice."""
        query = _query(FindQuery, fields)
        if query.what is None and query.tag is None:
            raise InvalidRequestError("Nothing is asked for.", remedy="Use the search.")
        answer = await self._reads.find(query)
        told = []
        for each in answer["cases"]:
            known = {each["network"]: {each["asset"]: each["decimals"]}} if each["decimals"] is not None else {}
            told.append({**each, "known": known})
        return "case.html", {
            "cases": told,
            "more": answer["more"],
            "chain": answer["chain"],
            "what": query.what,
            "coins": coins,
            "link": link,
        }

    async def audit(self, fields: Fields) -> Told:
        """The audit log; and the books compared with the chains, when that is asked for."""
        compare = fields.pop("compare", None) is not None
        answer = await self._reads.records(_query(RecordsQuery, {"kind": "operator", **fields}))
        rows = [
            [
                plain(each["number"]),
                when(each["createdAt"]),
                plain(each.get("operator", "–")),
                Cell(each.get("command", f"entries up to {each.get('last')}"), "word"),
                plain(_arguments(each)),
            ]
            for each in answer["records"]
        ]
        more = link("/audit", before=answer["next"]) if answer["next"] is not None else None
        log = Table(
            "Audit log", ("No.", "When", "Operator", "Command", "With"), rows, more, "No operator changed anything."
        )
        return "audit.html", {"log": log, **(await self._compared() if compare else {"books": None, "clean": False})}

    async def _compared(self) -> dict[str, Any]:
        async with self._comparing:  # it asks every chain: one at a time, whoever asks
            answer = await self._admin.audit()
        names = ("booked", "on_chain", "difference", "escrow_difference", "owed_difference")
        rows = [
            [
                plain(each.network),
                plain(each.asset),
                *(number(coins(getattr(each, name), each.network, each.asset, answer.decimals)) for name in names),
                plain(each.block),
            ]
            for each in answer.entries
        ]
        heads = ("Network", "Asset", "Booked", "On chain", "Difference", "Of sessions", "Of debts", "Block")
        return {"books": Table("Books and chains", heads, rows), "clean": answer.clean}


def found_at(text: str) -> str:
    """Where the case of something that was typed is told. A secret reference is not in the address: its hash is."""
    what, tag = sought(text)
    return link("/case", what=what, tag=tag if what is None else None)


def _network(each: dict[str, Any]) -> list[Cell]:
    engine = each["refunds"] or {}
    paused = engine.get("paused")
    trouble = each["error"] or engine.get("error") or (f"paused: {paused}" if paused else None)
    if not trouble and engine.get("short"):
        trouble = f"short of {', '.join(engine['short'])}"
    return [
        plain(each["network"]),
        state(trouble or "works"),
        plain(each["head"]),
        plain(each["final"]),
        code(engine.get("address"), case_of(engine.get("address"))),
        number(str(sum(engine.get("states", {}).values()))),
    ]


def _arguments(record: dict[str, Any]) -> str:
    said = record.get("arguments", {})
    return ", ".join(f"{name}: {value}" for name, value in said.items() if name != "dryRun" and value not in ("", []))


def _listed(
    title: str,
    path: str,
    fields: Fields,
    heads: tuple[str, ...],
    rows: list[list[Cell]],
    following: str | None,
    states: tuple[str, ...],
) -> Told:
    kept = {name: value for name, value in fields.items() if name != "before"}
    more = None if following is None else link(path, **kept, before=following)
    table = Table(title, heads, rows, more, "Nothing like that." if kept or "before" in fields else "None yet.")
    return "list.html", {"table": table, "path": path, "fields": kept, "states": states}


def _query(kind: Any, fields: Fields) -> Any:
    """The fields of a page's address. Raises InvalidRequestError."""
    wanted: dict[str, Any] = dict(fields)
    if "limit" in {each.name for each in msgspec.structs.fields(kind)}:
        wanted["limit"] = ROWS
    try:
        return msgspec.convert(wanted, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"This cannot be asked: {error}.", remedy="Use the form of the page.") from None
