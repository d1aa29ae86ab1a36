"""Is it right: the balance check, the audit log, and what operators ask."""
