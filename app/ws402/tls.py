"""TLS 1.2 and newer between servers and gateway, with certificates that are renewed while connections stay."""

from __future__ import annotations

import ssl
from pathlib import Path

from ws402.files import Watched


def serving(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """The context of a listener. New connections get the files' certificate of that moment, old ones are not touched.

    With `client_ca` a client's certificate is asked for and checked, but one without any is let through: whoever
    listens decides what it may do. Raises ConfigurationError.
    """
    paths = [cert, key, *([client_ca] if client_ca else [])]
    watched = Watched("The certificate", paths, lambda: _server_context(cert, key, client_ca))
    first = watched.value

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG001
        """Called for each handshake, with a server name or without. A context is swapped whole, never changed."""
        if (current := watched.value) is not first:
            connection.context = current

    first.sni_callback = choose
    return first


def calling(ca: Path | None, cert: Path | None, key: Path | None) -> Watched[ssl.SSLContext]:
    """The context of a client that checks the server's certificate and its name, by `ca` and nothing else if given.

    `cert` and `key` are shown to a server that asks for them. Raises ConfigurationError.
    """
    paths = [path for path in (ca, cert, key) if path is not None]
    return Watched("TLS to the other side", paths, lambda: _client_context(ca, cert, key))


def reason(error: OSError) -> str:
    """Why a TLS connection was not made, for people; holds nothing secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"no TLS connection: {error.reason.replace('_', ' ').lower()}"
    return type(error).__name__


def _server_context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # No resumption: it would pass a client's certificate by that is no longer accepted.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    _load(context, cert, key)
    if client_ca is not None:
        _trust(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _client_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is not None:
        _trust(context, ca)
    else:
        context.load_default_certs()
    if cert is not None and key is not None:
        _load(context, cert, key)
    return context


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    for path in (cert, key):
        path.open("rb").close()  # its error names the file, that of OpenSSL does not
    try:
        context.load_cert_chain(cert, key, password="")  # a key with a password is refused, not asked about
    except ssl.SSLError as error:
        msg = f"{cert} and {key} are no certificate with its key in PEM, or do not belong together ({error.reason})"
        raise ValueError(msg) from None


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    ca.open("rb").close()
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        msg = f"{ca} holds no certificates in PEM"
        raise ValueError(msg) from None
