"""The work on one file, as it is done in any process that can reach the file."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gateway import __version__
from gateway.analysis.plan import StreamPlan
from gateway.errors import GatewayError
from gateway.reprocess.recompute import Options, rows_of
from gateway.reprocess.sources import SourceFile
from gateway.reprocess.table import Layout, encode


@dataclass(slots=True, frozen=True)
class Job:
    """What is to be computed; goes to the worker."""

    file: SourceFile
    plan: StreamPlan
    options: Options
    layout: Layout
    version: str = __version__


@dataclass(slots=True, frozen=True)
class Computed:
    """The rows of a file as Parquet."""

    part: bytes
    rows: int
    setups: list[str]


@dataclass(slots=True, frozen=True)
class Failed:
    """Why a file has no rows."""

    reason: str


Outcome: TypeAlias = Computed | Failed


def compute(job: Job, folder: str | None = None) -> Outcome:
    """Compute a file; ``folder`` for a copy of one that lies elsewhere. Raises nothing."""
    if job.version != __version__:
        return Failed(f"the worker has edge-gateway {__version__}, not {job.version}")
    name = job.file.name
    try:
        with job.file.local(None if folder is None else Path(folder)) as path:
            try:
                told = rows_of(path, job.plan, job.options)
                part, rows, setups = encode(job.layout, name, told)
            except GatewayError as error:
                return Failed(_without(str(error), str(path)))
    except GatewayError as error:
        return Failed(_without(str(error), name))
    except MemoryError:
        return Failed("it is too large for the memory of the machine")
    except OSError as error:
        return Failed(f"cannot read it: {error.strerror or error}")
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error}; at {frame.filename}:{frame.lineno}"
        return Failed(f"this is a bug in the gateway, not yours: {what}")
    return Computed(part, rows, sorted(setups))


def _without(message: str, path: str) -> str:
    """The message without the path, which the caller names."""
    return message.removeprefix(f"{path}: ").removeprefix(f"{path} ").replace(path, "it")
