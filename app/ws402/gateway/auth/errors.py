"""What a caller is told who cannot be let in yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ws402.errors import UnavailableError


class KeysMissingError(UnavailableError):
    """A token names a key that the cluster may have made meanwhile: wait for `ask`, then look once more."""

    code = "keys_unavailable"

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        super().__init__("The cluster's keys are not known yet.")
        self.ask = ask
