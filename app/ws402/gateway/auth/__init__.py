"""Who calls the gateway: API keys, their tenants and scopes, and limits on how often they and strangers may call."""
