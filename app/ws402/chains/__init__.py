"""Chains: find transfers to us, build and send refunds, tell what is final. One folder a kind of chain."""
