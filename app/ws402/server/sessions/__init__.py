"""Paid sessions: from a proof to the settlement."""
