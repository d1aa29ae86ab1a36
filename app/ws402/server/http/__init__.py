"""The HTTP side of a WS402 server."""
