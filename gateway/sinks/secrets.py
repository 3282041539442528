"""Secrets and certificates of sinks: from files or systemd credentials, read when needed."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from gateway.errors import SinkUnavailable
from gateway.logs import hide


def read_secret(what: str, file: Path | None, credential: str | None = None) -> str | None:
    """The secret, None where neither is given. SinkUnavailable where it cannot be read.

    It is read for every connection, so a changed one needs no reload.
    """
    if credential is not None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            text = f"{what}: systemd's $CREDENTIALS_DIRECTORY is not set"
            raise SinkUnavailable(text, operator=True)
        file = Path(folder) / credential
    if file is None:
        return None
    try:
        secret = file.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SinkUnavailable(f"{what}: {file}: {why}", operator=True) from error
    if not secret or not secret.isprintable():
        raise SinkUnavailable(f"{what}: {file} holds none; expected one line", operator=True)
    hide(secret)
    return secret


def tls_context(
    ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Verifies the other side's certificate and name, always. SinkUnavailable: a file fails."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise SinkUnavailable(f"certificates: {error}", operator=True) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password; expected one without")
