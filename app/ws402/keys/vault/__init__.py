"""HashiCorp Vault (or OpenBao): secrets from KV version 2, ed25519 signatures by transit."""
