"""Pay-as-you-go WebSocket and HTTP resources: pay an estimate up front on chain, use, get the rest back."""

__version__ = "0.1.0"
