"""The payment gateway: ledger, invoices, payments, sessions, settlement, refunds, watcher; and its HTTP API."""
