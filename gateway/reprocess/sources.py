"""The files that are to be computed: a path, a folder, a glob or any URL of fsspec."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gateway.errors import GatewayError

ENDINGS = (".npz", ".npy", ".wav", ".tdms", ".parquet")
"""Of what is taken from a folder."""

_KNOWN_BY = ("ETag", "etag", "Content-MD5", "checksum", "CRC", "mtime", "LastModified",
             "last_modified", "Last-Modified", "updated", "date_time")  # fmt: skip
"""What file systems say of a file that changes when its content does, beside its size."""


@dataclass(slots=True, frozen=True)
class SourceFile:
    """One file; can be pickled, and read on any machine that can reach it."""

    name: str
    """Path below what was asked for."""
    path: str
    system: Any
    """The file system of fsspec."""
    mark: str
    """Size, and time or checksum: another one means another content."""

    @contextlib.contextmanager
    def local(self, folder: Path | None = None) -> Iterator[Path]:
        """A path of the file on this machine: its own, or a copy below ``folder`` meanwhile.

        GatewayError where it cannot be had.
        """
        if _is_local(self.system):
            yield Path(self.path)
            return
        with tempfile.TemporaryDirectory(dir=folder, prefix="reprocess-") as copies:
            copy = Path(copies) / f"copy{PurePosixPath(self.name).suffix}"
            with _told(f"cannot fetch {self.name}"):
                self.system.get_file(self.path, str(copy))
            yield copy


def find(source: str) -> list[SourceFile]:
    """The files of a path or URL, by name; GatewayError where there is none."""
    library = _library()
    with _told(f"cannot look into {source}"):
        system, path = library.core.url_to_fs(source)
        if library.core.has_magic(path):
            found = [p for p in system.glob(path) if not system.isdir(p)]
            base = path[: min(path.index(c) for c in "*?[" if c in path)].rpartition("/")[0]
        elif system.isfile(path) and PurePosixPath(path).suffix.lower() in ENDINGS:
            found, base = [path], path.rpartition("/")[0]
        elif system.isdir(path):
            found, base = system.find(path), path.rstrip("/")
        elif system.exists(path):
            raise GatewayError(f"{source} is no recording; expected a file {', '.join(ENDINGS)}")
        else:
            raise GatewayError(f"{source} does not exist")
        usable = sorted(p for p in found if PurePosixPath(p).suffix.lower() in ENDINGS)
        if not usable:
            raise GatewayError(f"{source} has no recordings; expected files {', '.join(ENDINGS)}")
        infos = [system.info(p) for p in usable]
    names = [p[len(base) :].lstrip("/") if p.startswith(base) else p for p in usable]
    return [
        SourceFile(name, path, system, _mark(info))
        for name, path, info in zip(names, usable, infos, strict=True)
    ]


def absolute(source: str) -> str:
    """A local path from the root on, so that it means the same elsewhere; a URL as it is."""
    if "://" in source or "::" in source:
        return source
    return str(Path(source).expanduser().absolute())


def _library() -> Any:
    try:
        import fsspec  # type: ignore[import-untyped]  # only this command needs it
        import fsspec.core  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise missing(error) from error
    return fsspec


def missing(error: ModuleNotFoundError) -> GatewayError:
    """What to say where a library is not installed."""
    return GatewayError(
        f"reprocess needs: pip install 'edge-gateway[reprocess]' (missing: {error.name})"
    )


def _is_local(system: Any) -> bool:
    protocol = system.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _mark(info: Mapping[str, Any]) -> str:
    known = [f"{key}={info[key]}" for key in _KNOWN_BY if info.get(key) is not None]
    return " ".join([f"size={info.get('size')}", *known])


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """File systems raise what they like: whatever it is becomes words."""
    try:
        yield
    except (GatewayError, KeyboardInterrupt):
        raise
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise GatewayError(f"{what}: {str(why).splitlines()[0]}") from error
