"""Embedded chains for demonstrations and tests: a real virtual machine behind real JSON-RPC, in memory only."""
