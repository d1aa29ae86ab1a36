"""What a server sells at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from ws402.errors import NotFoundError
from ws402.server.resources.base import Resource


class Catalog:
    """Resources by id; `ResourceReload` replaces them while the server runs."""

    def __init__(self, resources: Mapping[str, Resource]) -> None:
        self.resources = resources

    def get(self, resource_id: str) -> Resource | None:
        """One by its id."""
        return self.resources.get(resource_id)

    def named(self, resource_id: str, path: str) -> str | None:
        """The resource that a socket is for: by `resourceId`, or by the last part of the (quoted) path if that is one;
        else the payment decides. Raises NotFoundError.
        """
        if resource_id:
            if resource_id not in self.resources:
                raise NotFoundError("There is no such resource here.", remedy="GET /api/resources lists them.")
            return resource_id
        last = unquote(path.rsplit("/", 1)[-1])
        return last if last in self.resources else None
