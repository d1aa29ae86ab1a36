"""Other resources and prices without a restart: the file that names them is read again when it changes.

Sessions that run keep the resource and the price that they began with, also when it is changed or gone.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ws402.errors import WS402Error
from ws402.files import LOOK_SECONDS, Watched
from ws402.jobs import Job
from ws402.server.resources import Resource, load_resources
from ws402.settings.resources import read_resources

if TYPE_CHECKING:
    from ws402.server.sessions.service import Sessions

RETIRED_SECONDS: Final = 30.0
"""How long a resource stays open that no session uses any more: one may be opening."""

logger = logging.getLogger(__name__)


class ResourceReload:
    """Gives `sessions` what the file says now. While the file is broken, what it said before is sold."""

    def __init__(self, sessions: Sessions, path: Path) -> None:
        self._sessions = sessions
        self._file: Watched[dict[str, Resource]] = Watched("The list of resources", [path], lambda: self._read(path))
        self._retired: dict[Resource, float] = {}
        self._job = Job("resources", self._look, LOOK_SECONDS, delay=0)

    @property
    def broken(self) -> bool:
        """Whether the file as it is now is not what is sold."""
        return self._file.error is not None

    def start(self) -> None:
        """Look at the file now and then."""
        self._sessions.jobs.add(self._job).start()

    async def close(self) -> None:
        """Look no more, and close what was only kept for its sessions."""
        await self._job.close()
        for resource in self._retired:
            await resource.close()

    def _read(self, path: Path) -> dict[str, Resource]:
        """The resources of the file; one that did not change is the same object as before."""
        sold = self._sessions.catalog.resources
        read = load_resources(read_resources(path))
        return {
            key: sold[key] if key in sold and sold[key].settings == each.settings else each
            for key, each in read.items()
        }

    async def _look(self) -> None:
        if (new := self._file.value) != self._sessions.catalog.resources:
            await self._take(new)
        await self._let_go()

    async def _take(self, new: dict[str, Resource]) -> None:
        """Sell these from now on."""
        old = self._sessions.catalog.resources
        for key, resource in new.items():
            if old.get(key) is not resource:
                await resource.start()
        self._sessions.catalog.resources = new
        kept = set(new.values())
        self._retired |= {resource: time.monotonic() for resource in old.values() if resource not in kept}
        logger.info("resources: %s are sold now", ", ".join(new))

    async def _let_go(self) -> None:
        """Close what no session uses any more."""
        if not self._retired:
            return
        used = {session.resource for session in self._sessions.live.values()}
        for resource, since in list(self._retired.items()):
            if resource not in used and time.monotonic() - since > RETIRED_SECONDS:
                del self._retired[resource]
                try:
                    await resource.close()
                except (WS402Error, OSError) as error:
                    logger.warning("resource %s could not be closed: %s", resource.settings.id, error)
