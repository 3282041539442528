"""One run: what is missing or changed is computed, what is there already is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.analysis.plan import StreamPlan
from gateway.errors import GatewayError
from gateway.reprocess.cluster import Pool, own_workers, workers_of
from gateway.reprocess.jobs import Computed, Job, Outcome
from gateway.reprocess.recompute import Options, recipe_of
from gateway.reprocess.sources import SourceFile
from gateway.reprocess.store import Entry, Store
from gateway.reprocess.table import Layout, check_library, merge_csv, merge_parquet
from gateway.terminal import count


class Progress(Protocol):
    """What is told while it runs."""

    def begin(self, todo: int, there: int) -> None:
        """So many files are to be computed, so many are there already."""

    def ended(self, name: str, outcome: Outcome) -> None:
        """A file is done, or of no use."""


@dataclass(slots=True)
class Target:
    """Where the rows go: a folder of parts, or one file that is made of them."""

    path: Path
    folder: Path
    """Of the parts."""

    @classmethod
    def make(cls, path: Path) -> Target:
        """By its ending; GatewayError where that is of no use."""
        if path.is_dir() or not path.suffix:
            if path.exists() and not path.is_dir():
                raise GatewayError(f"{path} is a file; expected .parquet, .csv or a folder")
            return cls(path, path)
        if path.suffix.lower() not in (".parquet", ".csv"):
            raise GatewayError(f"{path}; expected .parquet, .csv or a folder")
        folder = path.with_name(f"{path.name}.parts")
        if path.exists() and not folder.exists():
            raise GatewayError(f"{path} exists, and is not of a run before; choose another -o")
        return cls(path, folder)

    def merge(self, store: Store, layout: Layout) -> None:
        """Make the file, where it is one."""
        if self.path.suffix.lower() == ".csv" and self.folder != self.path:
            merge_csv(store.parts(), layout, self.path)
        elif self.folder != self.path:
            merge_parquet(store.parts(), layout, self.path)


@dataclass(slots=True)
class Summary:
    """What came of a run."""

    files: int = 0
    computed: int = 0
    there: int = 0
    gone: int = 0
    """Files of before that are no more, whose rows stay."""
    rows: int = 0
    """In the output."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name of a file -> why it has no rows."""


@dataclass(slots=True)
class Wanted:
    """What is asked for."""

    source: str
    files: Sequence[SourceFile]
    plan: StreamPlan
    options: Options
    target: Target
    workers: int
    scheduler: str | None = None

    def pool(self, jobs: int) -> AbstractContextManager[Pool]:
        """The workers."""
        if self.scheduler is not None:
            return workers_of(self.scheduler)
        return own_workers(min(self.workers, jobs))


def run(wanted: Wanted, progress: Progress) -> Summary:
    """Compute what is missing; GatewayError where nothing can be done at all.

    A KeyboardInterrupt ends it; what was done is kept.
    """
    check_library()
    layout = Layout(wanted.plan)
    recipe = recipe_of(wanted.plan, wanted.options)
    origin = {"source": wanted.source, "device": wanted.plan.device}
    summary = Summary(files=len(wanted.files))
    with Store(wanted.target.folder, origin).opened() as store:
        todo = _prepare(store, wanted, recipe, summary)
        progress.begin(len(todo), summary.there)
        for file, outcome in _outcomes(wanted, layout, todo):
            if isinstance(outcome, Computed):
                entry = Entry(file.name, file.mark, recipe, outcome.rows, outcome.setups)
                store.add(entry, outcome.part)
                summary.computed += 1
            else:
                summary.failed[file.name] = outcome.reason
            progress.ended(file.name, outcome)
        summary.rows = sum(entry.rows for entry in store.entries.values())
        wanted.target.merge(store, layout)
    return summary


def _prepare(store: Store, wanted: Wanted, recipe: str, summary: Summary) -> list[SourceFile]:
    """Drop what is not true any more; the files that are to be computed."""
    files = {file.name: file for file in wanted.files}
    gone = [e for name, e in store.entries.items() if name not in files]
    if other := sum(e.recipe != recipe for e in gone):
        raise GatewayError(
            f"{store.folder} has rows of {count(other, 'file')} that cannot be computed with these "
            f"settings: {wanted.source} has no such files any more; choose another -o"
        )
    there = [
        entry
        for name, entry in store.entries.items()
        if name in files and (entry.mark, entry.recipe) == (files[name].mark, recipe)
    ]
    store.keep([*there, *gone])
    summary.there, summary.gone = len(there), len(gone)
    return [file for name, file in files.items() if name not in store.entries]


def _outcomes(
    wanted: Wanted, layout: Layout, todo: Sequence[SourceFile]
) -> Iterator[tuple[SourceFile, Outcome]]:
    if not todo:
        return
    jobs = (Job(file, wanted.plan, wanted.options, layout) for file in todo)
    with wanted.pool(len(todo)) as pool:
        for job, outcome in pool.outcomes(jobs):
            yield job.file, outcome
