#!/usr/bin/env bash
# Package: beancount 3.2.3 (PyPI)
#
# Guess:   a leg without an amount takes up exactly what the others leave, so that the transaction sums to nought.
# Seen:    it is rounded to the coarsest amount of the transaction. Beside "10.00 USDC" and "-9.9951234 USDC" the fee gets
#          nothing at all, and the 4,876 units that are missing then pass as within tolerance. With "10 USDC" in place of
#          "10.00 USDC" the fee is exact: digits that say nothing decide it.
# Matters: an exporter that writes invoices to two places and on-chain amounts to six loses the difference of every line,
#          bean-check says nothing, and only the fee account's total is wrong. Write every leg, or pad every amount to the
#          token's decimals.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "beancount==3.2.3"

cd "$work"
for invoice in 10.00 10; do
    cat > "$invoice.beancount" <<LEDGER
2026-01-01 open Assets:Wallet
2026-01-01 open Expenses:Fee
2026-01-01 open Income:Usage
2026-01-02 * "invoice paid, less a fee"
  Assets:Wallet     9.9951234 USDC
  Income:Usage     -$invoice USDC
  Expenses:Fee
LEDGER
    venv/bin/bean-check "$invoice.beancount" && echo "bean-check finds no fault"
done

venv/bin/python - <<'PY'
import sys
from decimal import Decimal

from beancount import loader
from beancount.core import data

seen = []
for invoice in ("10.00", "10"):
    entries, errors, _ = loader.load_file(f"{invoice}.beancount")
    (transaction,) = data.filter_txns(entries)
    amounts = {posting.account: posting.units.number for posting in transaction.postings}
    seen.append((amounts["Expenses:Fee"], sum(amounts.values()), len(errors)))
    print(f"invoice of {invoice}: fee {seen[-1][0]}, sum of the legs {seen[-1][1]}, errors {seen[-1][2]}")
if seen != [(0, Decimal("-0.0048766"), 0), (Decimal("0.0048766"), 0, 0)]:
    sys.exit("changed: the fee was seen to be lost beside 10.00, and to be exact beside 10")
PY
