"""Finds the running gateway for a command: by option, by variable, or by its configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.console import WrongUsage
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from gateway.api.client import Client, Params

DEFAULT_SOCKET = Path("/run/gateway.sock")


def client_for(socket: Path | None, config: Path | None) -> Client:
    """The client of the gateway that is meant; nothing is asked yet."""
    from gateway.api.client import Client

    return Client(socket_path(socket, config))


def download(
    client: Client,
    path: str,
    target: Path,
    what: str,
    params: Params | None = None,
    *,
    timeout_s: float,
) -> int:
    """Bytes of an answer into a new file; none is left where that fails. ``what`` it is called."""
    try:
        with target.open("xb") as file:
            try:
                return client.download(path, file, params, timeout_s=timeout_s)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise WrongUsage(f"{target} exists; {what} written to a new file") from None
    except OSError as error:
        raise GatewayError(f"{target}: {error.strerror}") from error


def socket_path(socket: Path | None, config: Path | None) -> Path:
    """``--socket``, else the socket of ``--config``, else GATEWAY_SOCKET, else the usual one."""
    if socket is not None:
        return socket
    if config is not None:
        return socket_of(config)
    named = os.environ.get("GATEWAY_SOCKET")
    return Path(named) if named else DEFAULT_SOCKET


def socket_of(config: Path) -> Path:
    """``api.socket`` of a configuration, of which nothing else is looked at: that takes longer."""
    from gateway.yamlfile import read_yaml

    document = read_yaml(config)
    api = document.root.get("api")
    given = api.get("socket") if isinstance(api, dict) else None
    if given is None:
        return DEFAULT_SOCKET
    if not isinstance(given, str):
        fault = document.place(("api", "socket")).fault("not a path; expected text")
        raise ConfigError([fault])
    path = config.absolute().parent / given
    return path.parent.resolve() / path.name
