"""What webhooks are signed with, in a real Vault: made and granted by `bootstrap`, and read by a gateway."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from tests.fixtures.vault import VaultCorner

from ws402.cli import cli
from ws402.errors import ConfigurationError
from ws402.keys.keyring import open_keyring
from ws402.keys.snapshot import SecretsUnavailableError
from ws402.settings import GatewaySettings
from ws402.settings.webhooks import signing_key

ASKED = {"webhooks": ("shop",)}
GIVEN = "whsec_dGhlIHNlY3JldCBvZiBhIHJlY2VpdmVy"


@pytest.mark.vault
def test_secrets_are_made_or_taken_in_without_showing_and_may_be_read(vault: VaultCorner) -> None:
    output = vault.bootstrap("--webhook", "shop=generate", "--webhook", "books=-", stdin=GIVEN)
    source = vault.source(vault.approle(), webhooks=("shop", "books"))
    kept = source.load().webhooks
    assert [each.get_secret_value() for each in kept["books"]] == [GIVEN]
    (made,) = kept["shop"]
    assert len(signing_key(made)) == 24
    assert not any(each in output for each in (made.get_secret_value(), GIVEN))
    vault.put("webhooks", shop=f"{GIVEN},{made.get_secret_value()}")
    assert len(source.load().webhooks["shop"]) == 2
    assert GIVEN not in repr(source.load())
    source.close()


@pytest.mark.vault
def test_what_is_denied_is_told_with_the_command_that_mends_it(vault: VaultCorner) -> None:
    source = vault.source(vault.approle("--webhook", "shop=generate"), **ASKED)
    vault.bootstrap("--remove", "webhooks")
    with pytest.raises(SecretsUnavailableError) as denied:
        source.load()
    assert (denied.value.reason, "--with webhooks" in str(denied.value.remedy)) == ("denied", True)
    vault.bootstrap("--with", "webhooks")
    assert len(source.load().webhooks["shop"]) == 1
    source.close()


@pytest.mark.vault
def test_a_secret_that_does_not_sign_is_not_written(vault: VaultCorner) -> None:
    for text in ("whsec_short", f"{GIVEN},{GIVEN},{GIVEN}"):
        named = ["vault", "bootstrap", "--path", vault.path, "--policy", vault.path, "--webhook", "shop=-"]
        done = CliRunner().invoke(cli, named, input=text)
        assert isinstance(done.exception, ConfigurationError)
        assert text not in done.output + str(done.exception)
    assert vault.root.read(f"secret/metadata/{vault.path}/webhooks") is None


@pytest.mark.vault
def test_a_gateway_signs_with_what_is_set_and_else_with_what_vault_has(vault: VaultCorner) -> None:
    values: dict[str, Any] = {
        "vault": vault.approle("--with", "webhooks"),
        "webhooks": [{"name": each, "url": "https://shop.example/"} for each in ("shop", "books")],
        "webhook_secrets": {"shop": [], "books": [GIVEN]},
        "gateway_api_key": "k" * 32,
        "gateway_admin_key": "o" * 32,
        "database_url": "sqlite://",
    }
    keyring = open_keyring(GatewaySettings(**values))
    assert keyring is not None
    with pytest.raises(ConfigurationError, match="'shop' has no secret"):
        keyring.webhook_secrets(keyring.keeper.snapshot)
    vault.bootstrap("--webhook", "shop=generate")
    found = keyring.webhook_secrets(keyring.keeper.source.load())
    keyring.close_unused()
    assert [each.get_secret_value() for each in found["books"]] == [GIVEN]
    assert [len(signing_key(each)) for each in found["shop"]] == [24]
