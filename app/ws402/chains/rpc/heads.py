"""How far the endpoints of a network have come, compared with each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Heads:
    """The newest head is the measure: an endpoint more than `tolerance` blocks behind it is asked last.

    A node that lost its peers goes on answering, with blocks that are old and without the transactions of newer ones;
    nothing in its own answers tells.
    """

    def __init__(self, network: str, tolerance: int) -> None:
        self._network = network
        self._tolerance = tolerance
        self.behind: dict[str, int] = {}
        """By endpoint: how many blocks it was behind when heads were compared last."""

    def compared(self, heads: Mapping[str, int]) -> None:
        """Take the heads of the endpoints that answered, asked at the same time. One alone says nothing."""
        if len(heads) < 2:
            return
        newest = max(heads.values())
        for endpoint, head in heads.items():
            lagged = self.lags(endpoint)
            self.behind[endpoint] = newest - head
            if self.lags(endpoint) and not lagged:
                log.warning(
                    "%s: %s is %d blocks behind the others, and is asked last",
                    self._network,
                    endpoint,
                    newest - head,
                )
            elif lagged and not self.lags(endpoint):
                log.info("%s: %s has caught up with the others", self._network, endpoint)

    def lags(self, endpoint: str) -> bool:
        """Whether it stands behind the others."""
        return self.behind.get(endpoint, 0) > self._tolerance
