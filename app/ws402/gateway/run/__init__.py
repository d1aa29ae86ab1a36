"""A whole gateway in one process, from its settings."""
