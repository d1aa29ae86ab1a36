"""Keys that never leave their keeper: AWS KMS, Google Cloud KMS, Azure Key Vault, PKCS#11. One file a kind."""
