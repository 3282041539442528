"""TLS on the TCP address: the certificate as it is on disk now, also after it was renewed.

Each handshake takes the newest certificate that could be loaded whole; connections that are open
keep theirs. A renewal writes certificate and key one after the other: while they do not fit each
other, the old pair stays.
"""

from __future__ import annotations

import logging
import ssl
import stat
from pathlib import Path

import anyio

from gateway.api.settings import TlsConfig
from gateway.errors import GatewayError

log = logging.getLogger("gateway.api")

LOOK_S = 30.0
"""How often it is looked whether the files have changed."""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def load_context(config: TlsConfig) -> ssl.SSLContext:
    """A context with the pair of files. GatewayError where they cannot be used."""
    certificate, key = config.certificate_file, config.key_file
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
        if mode & stat.S_IRWXO:
            raise GatewayError(
                f"key_file {key}: others may read or change it (mode {mode:04o}); "
                f"run `chmod o-rwx {key}`"
            )
        certificate.stat()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[config.min_version]
        # a password would be asked for on the terminal
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise GatewayError(_fault(error, certificate, key)) from error
    except (OSError, ValueError) as error:
        path = getattr(error, "filename", None) or f"{certificate}, {key}"
        raise GatewayError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return context


def _fault(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    reason = error.reason or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return f"key_file {key}: not the key of {certificate}; expected the pair"
    return f"{certificate}, {key}: {reason}; expected PEM files, the key without a password"


class Tls:
    """The certificate of one server."""

    def __init__(self, config: TlsConfig) -> None:
        """GatewayError where the files cannot be used."""
        self._config = config
        self._seen = self._state()
        self._now = load_context(config)
        self._error = ""
        self._watching = anyio.CancelScope()
        self.context = load_context(config)
        """For the listener; each handshake takes the newest certificate."""
        self.context.sni_callback = self._take_newest

    def _take_newest(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._now

    def renew(self) -> None:
        """Load the files again where they have changed; while they cannot be used, keep the old."""
        state = self._state()
        if state == self._seen and not self._error:
            return
        self._seen = state
        try:
            self._now = load_context(self._config)
        except GatewayError as error:
            if str(error) != self._error:
                self._error = str(error)
                log.error("the old certificate stays", extra={"detail": self._error})
        else:
            self._error = ""
            log.info("certificate loaded", extra={"file": str(self._config.certificate_file)})

    async def watch(self) -> None:
        """Renew until the stop."""
        with self._watching:
            while True:
                await anyio.sleep(LOOK_S)
                self.renew()

    def stop(self) -> None:
        """End the watch."""
        self._watching.cancel()

    def _state(self) -> list[tuple[int, ...] | None]:
        return [_state(p) for p in (self._config.certificate_file, self._config.key_file)]


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        about = path.stat()  # of what a link points to: certbot exchanges links
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
