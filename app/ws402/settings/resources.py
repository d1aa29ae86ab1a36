"""Resources in a file that may change while a server runs: that of WS402_CONFIG, or RESOURCES_FILE."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ws402.errors import ConfigurationError
from ws402.settings.server import ResourceSettings, ServerSettings
from ws402.settings.spelling import complaints


def resources_source(settings: ServerSettings) -> Path | None:
    """The file that these settings have their resources from, if any; what comes from elsewhere is fixed."""
    if settings.resources_file is not None:
        return settings.resources_file
    config = os.environ.get("WS402_CONFIG")
    if not config or not settings.resources or os.environ.get("RESOURCES"):
        return None
    return Path(config) if read_resources(Path(config)) == settings.resources else None


def read_resources(path: Path) -> list[ResourceSettings]:
    """The table `resources` of a TOML file. Raises ConfigurationError, which names the file and what is wrong in it."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from error
    try:
        return TypeAdapter(list[ResourceSettings]).validate_python(data.get("resources", []))
    except ValidationError as error:
        found = complaints(error, list[ResourceSettings])
        wrong = "; ".join(f"resources.{place}: {what}" for place, what in found)
        raise ConfigurationError(f"{path}: {wrong}.") from None
