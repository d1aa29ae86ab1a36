"""Keys: signers that sign without revealing. One file a kind: `local`; later Vault, KMS, PKCS#11."""
