"""Secrets and certificates from files or systemd credentials, read when they are needed."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from gateway.logs import hide

Fault: TypeAlias = Callable[[str], Exception]
"""Makes the exception of whoever asks; only an operator can mend it."""


def read_secret(what: str, file: Path | None, credential: str | None, fault: Fault) -> str | None:
    """The secret, None where neither is given. Raises ``fault(text)`` where it cannot be read.

    It is read for every connection, so a changed one needs no reload.
    """
    if credential is not None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            text = f"{what}: systemd's $CREDENTIALS_DIRECTORY is not set"
            raise fault(text)
        file = Path(folder) / credential
    if file is None:
        return None
    try:
        secret = file.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise fault(f"{what}: {file}: {why}") from error
    if not secret or not secret.isprintable():
        raise fault(f"{what}: {file} holds none; expected one line")
    hide(secret)
    return secret


def tls_context(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None, fault: Fault
) -> ssl.SSLContext:
    """Verifies the other side's certificate and name, always. ``fault(text)``: a file fails."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise fault(f"certificates: {error}") from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password; expected one without")
