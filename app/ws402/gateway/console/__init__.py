"""The operators' console: pages on a port of its own, on this machine's loopback only."""
