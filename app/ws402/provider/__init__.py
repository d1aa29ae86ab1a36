"""Payment providers: how a WS402 server reaches the gateway."""
