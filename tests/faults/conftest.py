"""Each test of a fault records what it injected and what that cost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import results
from tests.faults.ledger import Verdict
from tests.faults.rig import Rig


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs that are among the kept results of this commit are not done again."""
    done = results.done()
    again = [item for item in items if (item.path.name, item.name) in done]
    if again:
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item not in again]


_BLANK: dict[str, Any] = {"result": "failed", "injected": 0, "unit": ""}


class Proof:
    """The books of one test: its seed, its rigs, and the line that it appends to the results."""

    def __init__(self, test: str, name: str, fault: str, folder: Path) -> None:
        self.test = test
        self.name = name
        self.fault = fault
        self.folder = folder
        given = os.environ.get("GATEWAY_FAULTS_SEED")
        self.seed = int(given) if given else random.SystemRandom().getrandbits(32)
        self.chance = random.Random(self.seed)
        self.cleanups: list[Callable[[], object]] = []
        self._rigs: list[Rig] = []
        self._began = time.monotonic()
        self._line = dict(_BLANK)

    def rig(self, **options: Any) -> Rig:
        """A rig, not yet started, that is closed after the test."""
        rig = Rig(options.pop("folder", self.folder), **options)
        self.cleanups.append(rig.close)
        self._rigs.append(rig)
        return rig

    def holds(
        self,
        injected: int,
        unit: str,
        *verdicts: Verdict,
        may_lose: Collection[str] = (),
        case: str = "",
        **more: Any,
    ) -> None:
        """So much was injected and this is what became of the answers; fails on any fault.

        ``may_lose``: causes of named losses that this fault cannot but bring. ``case``: one of
        several faults of the test, with a line of its own.
        """
        if case:
            self._record()  # of the case before
            self._line = {**_BLANK, "case": case}
        self._line.update(injected=injected, unit=unit, **more)
        if verdicts:
            self._line["answered"] = max(v.answered for v in verdicts)
            self._line["stored"] = [v.stored for v in verdicts]
            self._line["named"] = dict(max(verdicts, key=lambda v: v.lost).named)
            self._line["in_flight"] = max(v.in_flight for v in verdicts)
            self._line["silent"] = sum(len(v.faults) for v in verdicts)
            faults = [fault for verdict in verdicts for fault in verdict.faults]
            assert not faults, f"seed {self.seed}, {len(faults)} faults: {faults[:20]}{self._why()}"
            surplus = [(cause, n) for v in verdicts for cause, n in v.named.items()]
            surplus = [(cause, n) for cause, n in surplus if cause not in may_lose]
            assert not surplus, f"given up without need: {surplus}"
            assert all(v.stored for v in verdicts), "nothing was stored: the test proves nothing"
        self._line["result"] = "held"

    def _why(self) -> str:
        """What the gateways said of their machines and losses: the folder is gone afterwards."""
        lines = [line for rig in self._rigs for line in rig.log().splitlines()]
        told = [line for line in lines if " device " in f" {line} " or "lost" in line]
        return "".join(f"\n{line}" for line in told[-60:])

    def close(self) -> None:
        """Clean up, last first, and append the line."""
        for cleanup in reversed(self.cleanups):
            cleanup()
        self._record(last=True)

    def _record(self, *, last: bool = False) -> None:
        if not last and self._line == _BLANK:
            return
        results.record(
            {
                "test": self.test,
                "name": self.name,
                "fault": self.fault,
                "seed": self.seed,
                "seconds": round(time.monotonic() - self._began, 1),
                "form": results.FORM,
                "commit": results.commit(),
                **({"last": True} if last else {}),
                **self._line,
            }
        )


@pytest.fixture
def proof(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proof]:
    fault = (request.function.__doc__ or "").strip().splitlines()[0].rstrip(".")
    test = f"{request.path.name}::{request.node.originalname}"
    books = Proof(test, request.node.name, fault, tmp_path)
    try:
        yield books
    finally:
        books.close()
