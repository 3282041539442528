"""Paths in settings: relative to the file that names them; secrets must be readable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gateway.config.validation import S
from gateway.yamlfile.document import shown, tidy


def with_files(settings: S, folder: Path) -> tuple[S, list[tuple[str, str]]]:
    """The settings with absolute paths, and (key, fault) of each file that cannot be read.

    What must be readable: fields of a path named ``*_file``, and systemd credentials named by
    fields ``*_credential``.
    """
    absolute: dict[str, Path] = {}
    faults = []
    for key in type(settings).model_fields:
        value = getattr(settings, key, None)
        wrong = None
        if isinstance(value, Path):
            absolute[key] = value = tidy(folder / value)
            wrong = _fault(value) if key.endswith("_file") else None
        elif key.endswith("_credential") and isinstance(value, str):
            wrong = _credential_fault(value)
        if wrong:
            name = shown(value) if isinstance(value, Path) else value
            faults.append((key, f"{name} cannot be read: {wrong}"))
    return settings.model_copy(update=absolute), faults


def _fault(path: Path) -> str | None:
    """Why a file cannot be read; None if it can."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return "it is not a file"
        with path.open("rb") as file:
            return None if file.read(1) else "it is empty"
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _credential_fault(name: str) -> str | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return "CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential="
    if "/" in name or name in ("", ".", ".."):
        return "it is not the name of a credential"
    return _fault(Path(folder) / name)
