"""What a WS402 server answers to HTTP requests."""
