"""Measures what the parts cost: CPU time of the measured process alone, and its resident memory."""
