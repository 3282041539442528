"""The listening sockets: made, taken over from systemd, and cleaned up, with errors one can act on.

Sources: unix(7), systemd's sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Sequence
from pathlib import Path

from gateway.api.address import Address
from gateway.api.settings import ApiConfig
from gateway.errors import GatewayError

SOCKET_MODE = 0o660
BACKLOG = 1024
"""Connections that wait in the kernel (at most net.core.somaxconn). With fewer, a newcomer in a
flood waits a second for its next try on TCP, and on the Unix socket is told to try again; with
more it waits as long for those before it."""
FIRST_INHERITED_FD = 3

_UCRED = struct.Struct("3i")
"""``struct ucred``: process, user and group."""


def inherited_sockets() -> list[socket.socket]:
    """The sockets that systemd passed to this process; none the second time it is asked."""
    mine = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    number = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not mine or not number.isdigit():
        return []
    found = []
    for fd in range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + int(number)):
        os.set_inheritable(fd, False)
        found.append(socket.socket(fileno=fd))
    return found


def peer_uid(connected: socket.socket | TransportSocket) -> int | None:
    """The user that has connected to a Unix socket, by SO_PEERCRED; None on TCP."""
    if connected.family != socket.AF_UNIX:
        return None
    given = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(given)[1])


class Listeners:
    """All listening sockets of the HTTP app. From the constructor on, clients can connect."""

    def __init__(self, api: ApiConfig, inherited: Sequence[socket.socket] = ()) -> None:
        """Listen on the inherited sockets, and on the configured addresses that they leave out.

        Raises:
            GatewayError: an address is in use, not writable, or open to the network unguarded.
        """
        self.sockets: list[socket.socket] = []
        self._own_path: tuple[Path, int] | None = None
        self._scheme = "http" if api.tls is None else "https"
        try:
            for given in inherited:
                self.sockets.append(given)
                _check_inherited(given, api)
            families = {s.family for s in self.sockets}
            if socket.AF_UNIX not in families:
                self._listen_unix(api.socket)
            if api.address is not None and not families & {socket.AF_INET, socket.AF_INET6}:
                self.sockets += _listen_tcp(api.address)
        except BaseException:
            self.close()
            raise

    @property
    def endpoints(self) -> list[str]:
        """Where clients reach the app: paths of Unix sockets, and URLs."""
        out = []
        for s in self.sockets:
            name = s.getsockname()
            out.append(name if isinstance(name, str) else f"{self._scheme}://{Address(*name[:2])}")
        return out

    def close(self) -> None:
        """Close all, and remove the Unix socket if it is still the one made here. Idempotent."""
        for s in self.sockets:
            s.close()
        self.sockets.clear()
        if self._own_path is not None:
            path, inode = self._own_path
            self._own_path = None
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == inode:
                    path.unlink()

    def _listen_unix(self, path: Path) -> None:
        _clear_way(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets.append(sock)
        try:
            os.fchmod(sock.fileno(), SOCKET_MODE)  # so that it is never open to all, not even now
            sock.bind(str(path))
            path.chmod(SOCKET_MODE)
            self._own_path = (path, path.lstat().st_ino)
            sock.listen(BACKLOG)
        except OSError as error:
            raise GatewayError(f"api.socket {path}: {_unix_fault(error, path)}") from error


def _check_inherited(given: socket.socket, api: ApiConfig) -> None:
    """A socket unit must not open what the configuration would refuse to open."""
    if given.family == socket.AF_UNIX:
        return
    if given.family not in (socket.AF_INET, socket.AF_INET6) or given.type != socket.SOCK_STREAM:
        raise GatewayError("systemd passed a socket that is neither a Unix nor a TCP stream")
    address = Address(*given.getsockname()[:2])
    if not address.is_loopback and api.tokens_file is None:
        raise GatewayError(
            f"systemd passed a socket on {address}, which other machines can reach: "
            "set api.tokens_file, or let the socket unit listen on 127.0.0.1"
        )


def _clear_way(path: Path) -> None:
    """Remove a socket that nobody serves any more; GatewayError for anything else."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise GatewayError(f"api.socket {path}: {_unix_fault(error, path)}") from error
    if not stat.S_ISSOCK(mode):
        raise GatewayError(
            f"api.socket {path}: exists and is not a socket, so it is left alone; "
            "move it away, or set another api.socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                try:
                    path.unlink()
                except PermissionError as error:
                    raise GatewayError(
                        f"api.socket {path}: left behind by another user; remove it as that "
                        "user, or set another api.socket"
                    ) from error
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its queue is full: somebody is there
        except OSError as error:
            raise GatewayError(f"api.socket {path}: {_unix_fault(error, path)}") from error
    raise GatewayError(
        f"api.socket {path}: another gateway answers there; stop it, or set another api.socket"
    )


def _unix_fault(error: OSError, path: Path) -> str:
    if "too long" in str(error):
        return "the path is too long for a Unix socket; expected at most 107 bytes"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no folder {path.parent}; create it, or set another api.socket"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"this user may not write to {path.parent}; "
            "set api.socket to a path that it may, e.g. ./var/gateway.sock"
        )
    return error.strerror or str(error)


def _listen_tcp(address: Address) -> list[socket.socket]:
    """One socket for each address that the host stands for (localhost may be two)."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise GatewayError(
            f"api.listen {address}: no such host; expected an address of this machine"
        ) from error
    made: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, where in dict.fromkeys((f, at) for f, _, _, _, at in found):
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:  # no IPv6 in this kernel
                absent = error
                continue
            made.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                dual = ipaddress.ip_address(str(where[0]).partition("%")[0]).is_unspecified
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
            try:
                sock.bind(where)
                sock.listen(BACKLOG)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                absent = error
                made.pop().close()
        if not made and absent is not None:
            raise absent
    except OSError as error:
        for sock in made:
            sock.close()
        raise GatewayError(f"api.listen {address}: {_tcp_fault(error, address)}") from error
    return made


def _tcp_fault(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another program; stop it, or set another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no address of this machine; expected e.g. 127.0.0.1"
    if error.errno == errno.EACCES:
        return f"this user may not use port {address.port}; expected one above 1023"
    return error.strerror or str(error)
