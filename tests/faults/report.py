"""Write docs/reliability.md from the results that were kept: ``python -m tests.faults.report``.

The results are docs/reliability.jsonl, to which ``make faults`` appends; or the files given.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import ROOT

KEPT = ROOT / "docs" / "reliability.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
TEXT = Path(__file__).with_name("reliability.md.in")
"""The page around the table."""


class Total(NamedTuple):
    """All runs of one fault together."""

    runs: int
    failed: int
    injected: int
    answered: int
    in_flight: int
    silent: int


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The lines of the results, oldest first."""
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


def table(lines: Iterable[dict[str, Any]]) -> list[str]:
    """The table of faults, one row for each, in the order of their files."""
    totals: dict[tuple[str, str, str], Total] = {}
    named: dict[tuple[str, str, str], Counter[str]] = {}
    units: dict[tuple[str, str, str], str] = {}
    figures: dict[tuple[str, str, str], str] = {}
    for line in lines:
        key = (line["test"], line["fault"], line.get("case", ""))
        old = totals.get(key, Total(0, 0, 0, 0, 0, 0))
        held = line["result"] == "held"
        totals[key] = Total(
            old.runs + 1,
            old.failed + (not held),
            old.injected + line["injected"],
            old.answered + line.get("answered", 0),
            old.in_flight + line.get("in_flight", 0),
            old.silent + line.get("silent", 0),
        )
        named.setdefault(key, Counter()).update(line.get("named", {}))
        units[key] = line["unit"] or units.get(key, "")
        if "replay_times_live" in line:
            figures[key] = (
                f" (last: {line['backlog_rows']:,} rows at {line['replay_times_live']:g} times the "
                f"live rate; new rows under 2 s old after {line['live_after_s']:g} s, then at most "
                f"{line['live_age_s']:g} s)"
            )
    out = [
        "| fault | injected | values answered | named as lost | under way | lost in silence |",
        "|---|---|---|---|---|---|",
    ]
    for key in sorted(totals):
        total = totals[key]
        _, fault, case = key
        what = (f"{fault}: {case}" if case else fault) + figures.get(key, "")
        if total.failed:
            what += f" (**{total.failed} of {total.runs} runs failed**)"
        causes = ", ".join(f"{n:,} {cause}" for cause, n in named[key].most_common()) or "0"
        values = [f"{total.answered:,}", causes, f"{total.in_flight}", f"**{total.silent}**"]
        cells = [what, f"{total.injected:,} {units[key]}"]
        cells += values if total.answered else ["", "", "", "**0**"]
        out.append("| " + " | ".join(cells) + " |")
    return out


def summary(lines: list[dict[str, Any]]) -> str:
    """One sentence on what the table stands on."""
    commits = sorted({line["commit"] for line in lines if line["commit"]})
    runs = len({(line["test"], line["name"], line["seed"]) for line in lines})
    hours = sum({(x["name"], x["seed"]): x["seconds"] for x in lines}.values()) / 3600
    answered = {(x["name"], x["seed"]): x.get("answered", 0) for x in lines}
    short = sum(line["form"] == "short" for line in lines)
    return (
        f"{runs} runs of {hours:.1f} h in all, {sum(answered.values()):,} values answered; "
        f"{short} of {len(lines)} lines are of the short form that CI runs. "
        f"Commits: {', '.join(commits) or 'none'}."
    )


def page(lines: list[dict[str, Any]]) -> str:
    """The whole page."""
    text = TEXT.read_text("utf-8")
    return text.replace("@summary@", summary(lines)).replace("@table@", "\n".join(table(lines)))


def main(names: list[str]) -> None:
    lines = read([Path(name) for name in names] or [KEPT])
    PAGE.write_text(page(lines), "utf-8")
    print("\n".join(table(lines)))
    print(f"\n{summary(lines)}\n{PAGE.relative_to(ROOT)} is written")


if __name__ == "__main__":
    main(sys.argv[1:])
