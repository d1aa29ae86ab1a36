"""Follows a mounted Secret: API keys and webhook secrets count at once, the rest from the next start on (logged)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from ws402.files import Watched
from ws402.gateway.auth.keys import Authenticator
from ws402.gateway.webhooks.worker import Webhooks
from ws402.jobs import Job
from ws402.observability import redact
from ws402.settings import GatewaySettings, load
from ws402.settings.sources import read_folder

log = logging.getLogger(__name__)

API_KEYS: Final = ("gateway_api_key", "gateway_admin_key")
WEBHOOK_SECRETS: Final = "webhook_secrets"
LOOK_SECONDS: Final = 2.0
"""How often the files are looked at; the kubelet brings a changed Secret within about a minute."""


class MountedSecrets:
    """The folder of WS402_SECRETS_DIR under a running gateway."""

    def __init__(self, folder: Path, authenticator: Authenticator, webhooks: Webhooks | None = None) -> None:
        """Raises ConfigurationError."""
        self._folder = folder
        self._authenticator = authenticator
        self._webhooks = webhooks
        self._held = read_folder(folder)
        self._watched = Watched("The mounted API keys", [folder / name for name in self._held], self._take)
        self.job = Job("mounted secrets", self.look, LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. What cannot be used is refused as a whole, told in the log, and changes nothing."""
        self._watched.refresh()

    def _take(self) -> None:
        found = read_folder(self._folder)
        changed = sorted(name for name in found if found[name] != self._held.get(name))
        if set(changed) & set(API_KEYS):
            settings = load(GatewaySettings)  # the environment still goes before
            redact.register(*settings.gateway_api_key, *settings.gateway_admin_key)
            self._authenticator.replace_configured(settings.gateway_api_key, settings.gateway_admin_key)
            log.info("new API keys are in use: %s", ", ".join(name for name in changed if name in API_KEYS))
        if WEBHOOK_SECRETS in changed and self._webhooks is not None:
            settings = load(GatewaySettings)
            redact.register(*(each for secrets in settings.webhook_secrets.values() for each in secrets))
            self._webhooks.replace_secrets(settings.webhook_secrets)
            log.info("new secrets of webhooks are in use")
        if later := [name for name in changed if name not in (*API_KEYS, WEBHOOK_SECRETS)]:
            log.warning("%s changed: it counts from the gateway's next start on", ", ".join(later))
        self._held = found
