"""WebSockets of clients: the handshake, frames, deadlines; what they mean for money is `ws402.server.sessions`."""
