"""What the pages say, by plain HTTP: each is filled by a real session, its refund, and money without an invoice."""

from __future__ import annotations

import pytest
from tests.gateway.console.conftest import Till
from tests.gateway.console.test_visits import signed_in


@pytest.fixture(scope="module")
def filled(till: Till) -> tuple[str, str]:
    return till.fill()


def test_every_page_says_what_the_ledger_says(till: Till, filled: tuple[str, str]) -> None:
    refund_id, tx = filled
    with signed_in(till, till.bob) as visitor:
        for path, part in (
            ("/", "0.0006 ETH"),
            ("/sessions", "0.001 ETH"),
            ("/sessions?state=live", "Nothing like that."),
            ("/refunds", "0.0004 ETH"),
            (f"/refund?id={refund_id}", refund_id),
            ("/unclaimed", "0.005 ETH"),
            ("/keys", "paused: the books are looked at"),
            ("/search", "Whose case?"),
            (f"/case?what={refund_id}", f"Refund {refund_id}"),
            (f"/case?what={tx}", "It pays for nothing yet"),
            ("/case?what=ses_none", "know nothing of it"),
            ("/audit", "No operator changed anything."),
            ("/audit?compare=1", "The books agree"),
        ):
            answer = visitor.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert part in answer.text, (path, answer.text)
