"""The demonstration: two chains, a gateway, three servers of this machine, some payers, and a bill that adds up."""
