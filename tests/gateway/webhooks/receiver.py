"""A receiver of webhooks as a seller runs it: a real HTTP server, which verifies with the public package."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_dGhlIHNlY3JldCBvZiBhIHJlY2VpdmVy"
"""24 bytes."""


@dataclass
class Seen:
    """One request that came."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answer` decides on each request: a status, or a status with headers. `seen` are all that came."""

    url: str = ""
    answer: Callable[[Seen], int | tuple[int, dict[str, str]]] = lambda _: 200
    seen: list[Seen] = field(default_factory=list)
    hold: threading.Event | None = None
    """Set by the test when requests may be answered."""

    def verified(self, secret: str = SECRET) -> list[Any]:
        """Every request's event; raises when a signature is not good."""
        return [Webhook(secret).verify(each.body, each.headers) for each in self.seen]

    def types(self) -> list[str]:
        return sorted(each.event["type"] for each in self.seen)


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver on this machine until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen = Seen({name.lower(): value for name, value in self.headers.items()}, body)
            receiver.seen.append(seen)
            if receiver.hold is not None:
                receiver.hold.wait(60)
            answer = receiver.answer(seen)
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class has it
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/events"
    try:
        yield receiver
    finally:
        if receiver.hold is not None:
            receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Clock:
    """A ledger's clock that a test moves."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns() + self._ahead_ns

    def move(self, seconds: float) -> None:
        self._ahead_ns += int(seconds * 1_000_000_000)
