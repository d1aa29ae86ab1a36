"""Payments without a chain, in memory: for tests and for trying a server out."""
