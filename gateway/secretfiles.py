"""Secrets and certificates from files or systemd credentials, read when they are needed.

And the settings that name them, for whoever speaks to a server.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

from pydantic import Field

from gateway.logs import hide
from gateway.settings import Settings

PasswordFile: TypeAlias = Annotated[
    Path | None,
    Field(strict=False, description="File that holds the password; only its owner may read it."),
]
PasswordCredential: TypeAlias = Annotated[
    str | None,
    Field(description="Or: name of the systemd credential that holds the password."),
]
CaFile: TypeAlias = Annotated[
    Path | None,
    Field(
        strict=False,
        description="Certificates to trust instead of the system's (PEM).",
    ),
]
CertFile: TypeAlias = Annotated[
    Path | None,
    Field(strict=False, description="Our own certificate (PEM), where the server asks for one."),
]
KeyFile: TypeAlias = Annotated[
    Path | None, Field(strict=False, description="Its key (PEM), without a password.")
]

Fault: TypeAlias = Callable[[str], Exception]
"""Makes the exception of whoever asks; only an operator can mend it."""


def one_of(config: Settings, *names: str) -> None:
    """ValueError where several of the settings are given that exclude each other."""
    if sum(getattr(config, name) is not None for name in names) > 1:
        raise ValueError(f"{' and '.join(names)} exclude each other; give one")


class Encrypted(Protocol):
    """Settings of a connection that may be encrypted."""

    @property
    def tls(self) -> bool: ...  # noqa: D102
    @property
    def ca_file(self) -> CaFile: ...  # noqa: D102
    @property
    def cert_file(self) -> CertFile: ...  # noqa: D102
    @property
    def key_file(self) -> KeyFile: ...  # noqa: D102


def check_certificates(config: Encrypted) -> None:
    """ValueError where they do not fit together."""
    if (config.cert_file is None) != (config.key_file is None):
        raise ValueError("cert_file and key_file belong together; give both or none")
    if not config.tls and (config.ca_file or config.cert_file):
        raise ValueError("certificates are of use only with `tls: true`")


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
