"""Where settings come from, and how a wrong one is told."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ws402.errors import ConfigurationError
from ws402.settings.spelling import complaints, did_you_mean


class StrictSettings(BaseModel):
    """One table of settings; a name that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ProcessSettings(BaseSettings):
    """What every process reads: environment, then the files of WS402_SECRETS_DIR, then the file of WS402_CONFIG."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values, environment, files of secrets, file."""
        from ws402.settings.sources import SecretFiles  # noqa: PLC0415 - it stands on this module

        return init_settings, env_settings, SecretFiles(settings_cls), _TomlFile(settings_cls)


class _TomlFile(EnvSettingsSource):
    """The file that WS402_CONFIG names, as a settings source."""

    def __call__(self) -> dict[str, Any]:
        """Read the file; unknown keys are refused, for a typo must not be silent."""
        path = os.environ.get("WS402_CONFIG")
        if not path:
            return {}
        try:
            data = tomllib.loads(Path(path).read_text())
        except OSError as error:
            raise ConfigurationError(
                f"WS402_CONFIG={path} cannot be read: {error.strerror}.", remedy="Fix the path, or unset it."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path} is not TOML: {error}.") from error
        from ws402.settings import GatewaySettings, ServerSettings  # noqa: PLC0415 - they stand on this module

        known = set(GatewaySettings.model_fields) | set(ServerSettings.model_fields)
        if unknown := sorted(set(data) - known):
            meant = "".join(did_you_mean(name, known) for name in unknown)
            raise ConfigurationError(
                f"{path} has unknown settings: {', '.join(unknown)}.{meant}", remedy="Check the spelling."
            )
        return {name: value for name, value in data.items() if name in self.settings_cls.model_fields}


T = TypeVar("T", bound=ProcessSettings)


def load(kind: type[T], **values: Any) -> T:
    """Read settings; raises ConfigurationError with one line for each setting that is wrong, never its secret value."""
    try:
        return kind(**values)
    except ValidationError as error:
        lines = [f"{place.upper() or kind.__name__}: {what}" for place, what in complaints(error, kind)]
        raise ConfigurationError("; ".join(lines)) from None
    except SettingsError as error:
        # Its cause would quote the value; its text names the field.
        named = re.search(r'field "([^"]+)"', str(error))
        raise ConfigurationError(
            f"{named.group(1).upper() if named else 'A setting'} is not JSON.",
            remedy="Write lists and tables of settings as JSON in the environment, or use the file of WS402_CONFIG.",
        ) from None
