"""The demonstration: a chain, a gateway and three servers of this machine, some payers, and a bill that must add up."""
