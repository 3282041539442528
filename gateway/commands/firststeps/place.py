"""Where a configuration goes: beside its maps, and under /etc as the service's own."""

from __future__ import annotations

import errno
import grp
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway.commands.console import WrongUsage

SERVICE_FOLDER = Path("/etc/edge-gateway")
SERVICE_GROUP = "edge-gateway"
SERVICE_STATE = Path("/var/lib")
SERVICE_RUN = Path("/run")


class Home(NamedTuple):
    """Where the gateway of a file keeps its state, and who may read the file."""

    state_dir: str
    socket: str
    unit: str | None
    """The systemd unit that runs it; None: it is started by hand."""
    group: int | None
    """Group that the files are given to; None: they stay the user's."""
    missing_group: bool = False

    @property
    def file_mode(self) -> int:
        """Of the configuration and its maps: they name machines, not secrets."""
        return 0o640 if self.unit else 0o644

    @property
    def secret_mode(self) -> int:
        """Of a file with a token."""
        return 0o640 if self.unit and self.group is not None else 0o600


def home_of(file: Path, *, folder: Path = SERVICE_FOLDER, group: str = SERVICE_GROUP) -> Home:
    """The service's own where root writes into its folder, else beside the file."""
    if os.geteuid() != 0 or file.absolute().parent.resolve() != folder.resolve():
        return Home("var", "var/gateway.sock", None, None)
    # the packaged units: edge-gateway.service runs gateway.yaml, edge-gateway@NAME NAME.yaml
    suffix, unit = "", "edge-gateway"
    if file.stem != "gateway":
        suffix, unit = f"-{file.stem}", f"edge-gateway@{file.stem}"
    try:
        number: int | None = grp.getgrnam(group).gr_gid
    except KeyError:
        number = None
    state = SERVICE_STATE / f"edge-gateway{suffix}"
    socket = SERVICE_RUN / f"gateway{suffix}.sock"
    return Home(str(state), str(socket), unit, number, number is None)


def refuse_existing(files: list[Path], force: bool) -> None:
    """WrongUsage where one of them would be overwritten."""
    there = [file for file in files if os.path.lexists(file)]
    if there and not force:
        names = ", ".join(map(str, there))
        verb = "exists" if len(there) == 1 else "exist"
        raise WrongUsage(f"{names} {verb} already; choose another name, or overwrite with --force")


def write_all(texts: Mapping[Path, tuple[str, int]], home: Home, *, force: bool) -> None:
    """Write each file whole, with its mode; the last one makes the configuration complete.

    ``texts``: path -> (text, mode). WrongUsage where the place cannot be written, or where a file
    that must not be overwritten has appeared.
    """
    for path, (text, mode) in texts.items():
        try:
            _make_folder(path.parent, home)
            _write(path, text, mode, home, force)
        except FileExistsError:
            raise WrongUsage(f"{path} exists already; overwrite with --force") from None
        except OSError as error:
            why = error.strerror or str(error)
            hint = "; as root, or elsewhere" if isinstance(error, PermissionError) else ""
            raise WrongUsage(f"{path} cannot be written: {why}{hint}") from error


def _make_folder(folder: Path, home: Home) -> None:
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
    folder.mkdir(parents=True, mode=0o750 if home.unit else 0o755)
    if home.group is not None:
        os.chown(folder, -1, home.group)
        folder.chmod(0o750)


def _write(path: Path, text: str, mode: int, home: Home, force: bool) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if home.group is not None:
            os.chown(temporary, -1, home.group)
        temporary.chmod(mode)
        if force:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # fails where the name is taken
    finally:
        temporary.unlink(missing_ok=True)
