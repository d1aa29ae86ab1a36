"""Money comes in: invoices, and the proofs that claim payments for them."""
