"""The WS402 server: sells metered WebSocket and HTTP resources, asks a provider for everything about money."""

from ws402.server.app import WS402Server, create_server

__all__ = ["WS402Server", "create_server"]
