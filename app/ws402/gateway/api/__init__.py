"""The gateway's HTTP API: thin callers of the payment service."""
