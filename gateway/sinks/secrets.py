"""Secrets and certificates of sinks: what cannot be read keeps the rows."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

from gateway import secretfiles
from gateway.errors import SinkUnavailable

_fault = partial(SinkUnavailable, operator=True)


def read_secret(what: str, file: Path | None, credential: str | None = None) -> str | None:
    """As `gateway.secretfiles.read_secret`; SinkUnavailable where it cannot be read."""
    return secretfiles.read_secret(what, file, credential, _fault)


def tls_context(
    ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """As `gateway.secretfiles.tls_context`; SinkUnavailable where a file cannot be used."""
    return secretfiles.tls_context(ca_file, cert_file, key_file, _fault)
