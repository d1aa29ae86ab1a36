"""Collecting: transfers that payers signed are brought to the chain, and open sessions there."""
