"""The ledger: tables, constraints and the batched transactions that move money."""
