"""Test what you build on WS402 without a chain: a mock gateway in process or over HTTP, and a pytest plugin."""
