"""A PKCS#11 token whose PIN is wrong, whose session is lost, or that does not answer: none may be locked by trying."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pkcs11
import pytest
from pkcs11 import TokenFlag
from tests.fixtures.keepers import Hsm

from ws402.keys.kms.registry import key_service
from ws402.keys.kms.service import KeyService, KeyServiceError
from ws402.settings import KmsSettings

pytestmark = pytest.mark.keys

# The library tells of a search, too, that it cannot end in a session that is no more.
lost = pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")

DIGEST = bytes(range(32))


@pytest.fixture
def own(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hsm]:
    """A token that no other test uses: its PIN may be changed."""
    label, pin = f"own-{secrets.token_hex(4)}", os.environ["PKCS11_PIN"]
    made = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "so-" + pin]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.setenv("PKCS11_TOKEN", label)
    lose_sessions()  # after which the library sees the new token, too
    yield hsm
    subprocess.run(["softhsm2-util", "--delete-token", "--token", label], check=True, capture_output=True)


def lose_sessions() -> None:
    """All sessions of this process, as when an HSM goes and comes back."""
    pkcs11.lib(os.environ[Hsm.variable]).reinitialize()


def set_pin(hsm: Hsm, old: str, new: str) -> None:
    token = pkcs11.lib(os.environ[Hsm.variable]).get_token(token_label=os.environ["PKCS11_TOKEN"])
    with token.open(rw=True, user_pin=old) as session:
        session.set_pin(old, new)


def refusal(service: KeyService) -> KeyServiceError:
    with pytest.raises(KeyServiceError) as raised:
        service.sign(DIGEST)
    return raised.value


def opened(hsm: Hsm, named: str, settings: KmsSettings | None = None) -> KeyService:
    service = key_service(named, settings or hsm.settings())
    service.public_key()
    return service


@lost
def test_a_session_that_was_lost_is_opened_again(own: Hsm) -> None:
    service = opened(own, own.make("secp256k1"))
    lose_sessions()
    assert len(service.sign(DIGEST)) == 64
    service.close()


@lost
def test_a_pin_that_was_refused_is_not_tried_again(own: Hsm) -> None:
    pin, named = os.environ["PKCS11_PIN"], own.make("secp256k1")
    one, other = opened(own, named), opened(own, own.make("secp256k1"))
    lose_sessions()
    set_pin(own, pin, "another-one")
    assert refusal(one).reason == "login"
    # It would be the right one now: that it is refused still shows that the token was not asked.
    set_pin(own, "another-one", pin)
    for each in (one, other, one):
        error = refusal(each)
        assert error.reason == "login"
        assert "pkcs11_pin_file" in str(error.remedy)
        assert pin not in error.message
    one.close()
    other.close()
    again = key_service(named, own.settings())
    assert refusal(again).reason == "login"
    again.close()


def test_another_pin_is_tried_after_one_was_refused(own: Hsm) -> None:
    named = own.make("secp256k1")
    (own.folder / "wrong").write_text("0000")
    wrong = key_service(named, own.settings(pkcs11_pin_file=own.folder / "wrong"))
    with pytest.raises(KeyServiceError):
        wrong.public_key()
    wrong.close()
    service = opened(own, named)
    assert len(service.sign(DIGEST)) == 64
    service.close()


def test_the_last_try_before_a_token_locks_is_not_taken(
    hsm: Hsm, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """SoftHSM locks nothing, so the library of one that does is a fake."""
    token = SimpleNamespace(flags=TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_FINAL_TRY)
    monkeypatch.setattr(pkcs11, "lib", lambda _: SimpleNamespace(get_token=lambda **_: token))
    service = key_service("pkcs11:refunds", hsm.settings(pkcs11_module=tmp_path / "locks.so"))
    with pytest.raises(KeyServiceError, match="PinLocked") as raised:
        service.public_key()
    assert "log in once" in str(raised.value.remedy)
    service.close()


def test_closing_does_not_wait_for_a_token_that_hangs(hsm: Hsm, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    asked, ended = threading.Event(), threading.Event()

    def hang(**_: str) -> None:
        asked.set()
        ended.wait()
        raise pkcs11.exceptions.DeviceRemoved

    monkeypatch.setattr(pkcs11, "lib", lambda _: SimpleNamespace(get_token=hang))
    monkeypatch.setattr("ws402.keys.kms.pkcs11.CLOSE_SECONDS", 0.05)
    service = key_service("pkcs11:refunds", hsm.settings(pkcs11_module=tmp_path / "hangs.so"))
    call = threading.Thread(target=refusal, args=[service])
    call.start()
    asked.wait()
    service.close()
    assert call.is_alive()
    ended.set()
    call.join()
