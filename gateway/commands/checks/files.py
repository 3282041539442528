"""Who may read and write what: the state, the socket, the secrets, and the TCP port."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from gateway.api.address import Address
from gateway.commands.checks.disk import existing, mode_of
from gateway.commands.checks.report import Check

SERVICE_USER = "edge-gateway"

_WORDS = {os.R_OK: "read", os.W_OK | os.X_OK: "write into"}


class User(NamedTuple):
    """Who runs the gateway."""

    name: str
    uid: int
    groups: frozenset[int]

    def may(self, path: Path, right: int) -> bool:
        """Whether the mode lets this user (os.R_OK, os.W_OK, os.X_OK); also through all folders."""
        if self.uid == 0:
            return True
        if self.uid == os.geteuid():
            return os.access(path, right, effective_ids=True)
        try:
            chain = [path, *path.resolve().parents]
            return all(self._may(p.stat(), right if p is path else os.X_OK) for p in chain)
        except OSError:
            return False

    def _may(self, found: os.stat_result, right: int) -> bool:
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return found.st_mode >> shift & right == right


def user_of(pid: int | None, state_dir: Path) -> User:
    """The user of the running gateway; else the service's where it is one's; else who asks."""
    uid = os.geteuid()
    if pid is not None:
        try:
            uid = Path(f"/proc/{pid}").stat().st_uid
        except OSError:
            uid = os.geteuid()
    elif state_dir.parent == Path("/var/lib"):
        try:
            uid = pwd.getpwnam(SERVICE_USER).pw_uid
        except KeyError:
            uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, frozenset())
    groups = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_name, uid, groups)


def state_folder(state_dir: Path, user: User) -> Check:
    """Whether the gateway can keep its state."""
    name = "state_dir"
    if (mode := mode_of(state_dir)) and not stat.S_ISDIR(mode):
        return Check(name, "FAIL", f"{state_dir} is not a folder", "name another one")
    folder = existing(state_dir)
    if folder != state_dir and user.name == SERVICE_USER and _is_made_by_systemd(state_dir):
        return Check(name, "OK", f"{state_dir} will be made by systemd at the first start")
    if not user.may(folder, os.W_OK | os.X_OK):
        todo = f"chown -R {user.name} {folder}, or name another state_dir"
        if folder != state_dir:
            todo = f"mkdir -p {state_dir}; chown {user.name} {state_dir}"
        return Check(name, "FAIL", f"user {user.name} may not write into {folder}", todo)
    if folder != state_dir:
        return Check(name, "OK", f"{state_dir} will be made by the first start")
    if state_dir.stat().st_mode & 0o002:
        return Check(
            name, "WARN", f"everybody may write into {state_dir}", f"chmod o-w {state_dir}"
        )
    return Check(name, "OK", f"{state_dir}; user {user.name} may write into it")


def _is_made_by_systemd(state_dir: Path) -> bool:
    """The units' StateDirectory."""
    return state_dir.parent == Path("/var/lib") and state_dir.name.startswith("edge-gateway")


def status_socket(path: Path, user: User, running: bool) -> Check:
    """Whether the gateway can make its socket, or a tool can use it."""
    name = "socket"
    if running:
        mode = stat.S_IMODE(mode_of(path))
        if mode & 0o002:
            todo = f"chmod 660 {path}"
            return Check(name, "WARN", f"everybody may use {path}", todo)
        return Check(name, "OK", f"a gateway answers at {path} (mode {mode:04o})")
    if (mode := mode_of(path)) and not stat.S_ISSOCK(mode):
        return Check(name, "FAIL", f"{path} is not a socket", "remove it, or change api.socket")
    if mode:
        return Check(name, "OK", f"{path}; no gateway runs there")
    folder = existing(path.parent)
    if not user.may(folder, os.W_OK | os.X_OK):
        if path.parent == Path("/run"):
            return Check(name, "OK", f"{path} is made by systemd (edge-gateway.socket)")
        found = f"user {user.name} may not make {path}"
        return Check(name, "FAIL", found, "change api.socket, or the rights of its folder")
    return Check(name, "OK", f"{path} will be made by the start")


def port(address: Address, running: bool) -> Check:
    """Whether the TCP port of ``api.listen`` is free, or ours."""
    name = f"port {address.port}"
    if running:
        return Check(name, "OK", f"{address}: the running gateway")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address.host, address.port))
        except OSError as error:
            todo = "change api.listen to an address of this PC"
            if error.errno == errno.EADDRINUSE:
                todo = f"who has it? ss -ltnp 'sport = :{address.port}'; or change api.listen"
            if error.errno == errno.EACCES:
                todo = "ports below 1024 are for root: take one above, e.g. 8080"
            return Check(name, "FAIL", f"{address}: {error.strerror}", todo)
    return Check(name, "OK", f"{address} is free")


def secrets(sections: Mapping[str, Any], user: User) -> Iterator[Check]:
    """Files with tokens, passwords and keys: readable by the gateway, and by few others."""
    seen = set()
    for section, settings in sections.items():
        for path in _secret_files(settings):
            if path in seen:
                continue
            seen.add(path)
            yield _secret(section, path, user)


def _secret_files(settings: Any) -> Iterator[Path]:
    if not isinstance(settings, BaseModel):
        return
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            yield from _secret_files(value)
        elif isinstance(value, Path) and _is_secret(key):
            yield value


def _is_secret(key: str) -> bool:
    words = ("token", "password", "secret", "key")
    return key.endswith("_file") and any(word in key for word in words)


def _secret(section: str, path: Path, user: User) -> Check:
    name = f"secret {section}"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return Check(name, "FAIL", f"{path}: {error.strerror}", "write the secret into it")
    if not user.may(path, os.R_OK):
        todo = f"chgrp {user.name} {path}; chmod 640 {path}"
        return Check(name, "FAIL", f"user {user.name} may not read {path}", todo)
    if mode & 0o007:
        found = f"everybody on this PC may read {path}"
        return Check(name, "WARN", found, f"chmod o= {path}")
    return Check(name, "OK", f"{path} (mode {stat.S_IMODE(mode):04o})")
