"""What the machines answered against what is stored: once, or named in the loss ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

from tests.sims.counting import Answered

NEAR_NS = 1_000_000_000
"""A row's time and the peer's own differ by the way there and back, on a busy machine."""

SLACK_NS = 25_000_000
"""The same at the ends of a loss: half a poll."""

CUT_NS = 100_000_000
"""A request that was under way at a cut is answered within this time after it."""


class StoredRow(NamedTuple):
    """A row as a store gives it back."""

    device: str
    number: int
    time_ns: int


class GivenUp(NamedTuple):
    """A row that says that the machine did not answer in time (``BAD:timeout``)."""

    device: str
    time_ns: int


class LossRange(NamedTuple):
    """A row of table ``gateway_loss``."""

    sink: str
    device: str
    table: str
    first_ns: int
    last_ns: int
    rows: int
    cause: str


class Verdict(NamedTuple):
    """What became of the answers of all machines in one store."""

    answered: int
    stored: int
    named: Counter[str]
    """Answers that are not stored but named, by cause."""
    in_flight: int
    """Answers that the gateway cannot have received: under way at a cut, or given up before, which
    a stored row says."""
    faults: list[str]
    """Lost in silence, stored twice, invented: must be empty."""

    @property
    def lost(self) -> int:
        """Answers that are named as lost."""
        return sum(self.named.values())


def added(verdicts: Sequence[Verdict]) -> Verdict:
    """Those of several runs, each with machines and stores of its own, as one."""
    named: Counter[str] = Counter()
    for verdict in verdicts:
        named += verdict.named
    return Verdict(
        sum(v.answered for v in verdicts),
        sum(v.stored for v in verdicts),
        named,
        sum(v.in_flight for v in verdicts),
        [fault for v in verdicts for fault in v.faults],
    )


def reconcile(
    ledger: Mapping[str, Sequence[Answered]],
    store: Iterable[StoredRow],
    losses: Iterable[LossRange],
    sink: str,
    *,
    cuts_ns: Sequence[int] = (),
    backs_ns: Sequence[int] = (),
    given_up: Iterable[GivenUp] = (),
    patience_ns: int = 0,
    same_clock: bool = True,
) -> Verdict:
    """Compare the answers of each device with one store.

    ``cuts_ns``: when the gateway or a connection was cut; the last answer before each cut may
    never have arrived. ``backs_ns``: when a connection came back; the first answer after it may
    be to a request that was given up. ``given_up``: stored rows, of which each accounts for one
    answer at most that is no further from it than ``patience_ns``, the machine's time-out.
    ``same_clock``: rows have the time of their answer.
    """
    rows = list(store)
    late = list(given_up)
    ranges = [loss for loss in losses if loss.sink == sink]
    named: Counter[str] = Counter()
    in_flight = 0
    faults: list[str] = []
    for device, answers in ledger.items():
        room = {loss: loss.rows + 1 for loss in ranges if loss.device == device}
        """So many may be missing in each: the one in flight is missing, too."""
        times = {answer.number: answer.time_ns for answer in answers}
        stored = Counter(row.number for row in rows if row.device == device)
        faults += [f"{device}: {n} is stored {k} times" for n, k in stored.items() if k > 1]
        faults += [f"{device}: {n} was never answered" for n in stored if n not in times]
        if same_clock:
            faults += [
                f"{device}: {row.number} is {(row.time_ns - times[row.number]) / 1e9} s off"
                for row in rows
                if row.device == device
                and abs(row.time_ns - times.get(row.number, row.time_ns)) > NEAR_NS
            ]
        last_before = {
            max((a.number for a in answers if a.time_ns <= cut + CUT_NS), default=0)
            for cut in cuts_ns
        }
        unheard = last_before | {
            min((a.number for a in answers if a.time_ns >= back), default=0) for back in backs_ns
        }
        for answer in sorted(answers, key=lambda answer: answer.time_ns):
            if answer.number in stored:
                continue
            over = [loss for loss in room if _apart_ns(answer, loss) <= SLACK_NS]
            free = [loss for loss in over if room[loss]]
            if free:
                # ranges may overlap: the one that ends first is of no use to later answers
                loss = min(free, key=lambda loss: loss.last_ns)
                room[loss] -= 1
                named[loss.cause] += 1
            elif answer.number in unheard or _was_late(device, answer, late, patience_ns):
                in_flight += 1
            elif over:
                faults.append(f"{device}: {answer.number} is one more than {over} tells")
            else:
                apart = min((_apart_ns(answer, loss) for loss in room), default=inf)
                faults.append(
                    f"{device}: {answer.number} is lost in silence, {apart / 1e9:.3f} s from "
                    "the nearest loss that is told"
                )
    total = sum(map(len, ledger.values()))
    return Verdict(total, len(rows), named, in_flight, faults)


def _apart_ns(answer: Answered, loss: LossRange) -> int:
    """How far an answer is from a loss of its device; 0 within it."""
    return max(loss.first_ns - answer.time_ns, answer.time_ns - loss.last_ns, 0)


def _was_late(device: str, answer: Answered, late: list[GivenUp], patience_ns: int) -> bool:
    """Whether a stored row says that this answer came too late; the row is used up by it."""
    for row in late:
        if row.device == device and abs(row.time_ns - answer.time_ns) <= patience_ns + NEAR_NS:
            late.remove(row)
            return True
    return False
