"""Events of the ledger, posted to receivers: signed as Standard Webhooks, again and again until they are taken."""
