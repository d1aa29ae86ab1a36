"""JSON-RPC over HTTP, as every kind of chain uses it: batches, health, several endpoints, agreement between two."""
