"""`gateway alarms`: what stands, what was, and acknowledging or shelving it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.alarmtest import test_rules
from gateway.commands.client import client_for, download
from gateway.commands.console import (
    EXIT_BAD,
    EXIT_USAGE,
    AsJson,
    ConfigOption,
    SocketOption,
    WrongUsage,
    coloured,
    complain,
    out,
    out_json,
    say,
)
from gateway.terminal import Colour, aligned, count, duration, number, printable, size

if TYPE_CHECKING:
    from gateway.api.client import Client

NOTIFY_S = 260.0
"""The longest time-out that a notifier can have, twice, and a little."""

FILE_S = 120.0
MOST_SHELVED_S = 30 * 86_400.0

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|min|m|h|d)?", re.ASCII)
_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_COLOURS: dict[str, Colour] = {
    "unacknowledged": "red",
    "returned": "yellow",
    "latched": "yellow",
    "shelved": "dim",
    "suppressed": "dim",
    "normal": "green",
    "CRITICAL": "bold",
    "HIGH": "bold",
}

alarms = typer.Typer(
    name="alarms",
    help="List, acknowledge and shelve alarms; try rules.",
    rich_markup_mode=None,
)

Ids = Annotated[
    list[str], typer.Argument(metavar="ALARM...", help="As `gateway alarms list` has it.")
]
Why = Annotated[
    str, typer.Option("--why", metavar="TEXT", help="The reason, for those who read it later.")
]
Who = Annotated[
    str | None,
    typer.Option("--who", metavar="NAME", help="Who does it; left out: the user of this command."),
]


@alarms.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        names = sorted(getattr(context.command, "commands", ()))
        context.fail(f"missing command; expected {', '.join(names)}")


@alarms.command("list")
def list_alarms(
    rules: Annotated[
        bool, typer.Option("--rules", help="All alarms with their rule, those that are normal too.")
    ] = False,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List the alarms that are not normal, the most severe first."""
    client = client_for(socket, config)
    if rules:
        found = client.get_json("/v1/alarms/rules")["rules"]
        if as_json:
            _json_lines(found)
        elif found:
            names = ("ALARM", "SEVERITY", "STATE", "VALUE", "LIMIT", "RULE")
            out(_table([_rule_cells(rule) for rule in found], names, right=(3, 4)))
        else:
            say("the configuration has no alarm rules")
        return
    document = client.get_json("/v1/alarms")
    found = document["alarms"]
    if as_json:
        _json_lines(found)
        return
    if not found:
        say("no alarms", "green")
        return
    header = ("ALARM", "SEVERITY", "STATE", "SINCE", "VALUE", "LIMIT", "MESSAGE")
    out(_table([_alarm_cells(alarm) for alarm in found], header, right=(4, 5)))
    open_ = document["status"]["unacknowledged"]
    say(f"{count(len(found), 'alarm')}, {open_:,} to acknowledge", "red" if open_ else None)


@alarms.command()
def ack(
    ids: Ids,
    why: Why,
    who: Who = None,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Acknowledge alarms; one that is latched is reset by it."""
    _change("acknowledge", ids, {"why": why, "who": who}, as_json, socket, config)


@alarms.command()
def shelve(
    ids: Ids,
    why: Why,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="For so long: 30min, 8h, 2d; at most 30d.")
    ],
    who: Who = None,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Put alarms aside for a time; they come back by themselves."""
    body = {"why": why, "who": who, "for_s": _seconds(for_)}
    _change("shelve", ids, body, as_json, socket, config)


@alarms.command()
def unshelve(
    ids: Ids,
    why: Why,
    who: Who = None,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Bring alarms back before their time."""
    _change("unshelve", ids, {"why": why, "who": who}, as_json, socket, config)


@alarms.command()
def history(
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="-90s, -15m, -1h, -7d, or ISO 8601."),
    ] = "-1d",
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="As --since; left out: now.")
    ] = "now",
    alarm: Annotated[
        str | None, typer.Option("--alarm", metavar="ALARM", help="Of this alarm only.")
    ] = None,
    last: Annotated[
        int, typer.Option("-n", min=1, max=10_000, metavar="N", help="The newest N only.")
    ] = 200,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List the transitions of alarms, newest first, also of earlier runs."""
    params = {"from": since, "to": until, "alarm": alarm, "max": last}
    client = client_for(socket, config)
    found = client.get_json("/v1/alarms/history", params, timeout_s=30.0)["transitions"]
    if as_json:
        _json_lines(found)
    elif found:
        header = ("TIME", "ALARM", "SEVERITY", "STATE", "VALUE", "LIMIT", "MESSAGE", "BY")
        out(_table([_transition_cells(t) for t in found], header, right=(4, 5)))
    else:
        say(f"no alarm changed since {since}", "green")


@alarms.command()
def captures(
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List the raw windows that were stored around alarms, newest first."""
    found = client_for(socket, config).get_json("/v1/alarms/captures")["captures"]
    if as_json:
        _json_lines(found)
    elif found:
        cells = [[_when(c["time_ns"]), c["id"], c["name"], size(c["bytes"])] for c in found]
        out(_table(cells, ("TIME", "ALARM", "NAME", "SIZE"), right=(3,)))
    else:
        say("no raw windows are stored")


@alarms.command()
def capture(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `gateway alarms captures` has.")],
    target: Annotated[
        Path, typer.Argument(readable=False, help="File to write; it may not exist yet.")
    ],
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy a raw window that was stored around an alarm into a file (.npz)."""
    client, params = client_for(socket, config), {"name": name}
    path = "/v1/alarms/capture.npz"
    written = download(client, path, target, "a window is", params, timeout_s=FILE_S)
    say(f"{target}: {size(written)}")


@alarms.command()
def notify_test(
    notifier: Annotated[str, typer.Argument(metavar="NAME", help="Its name in `notify:`.")],
    who: Who = None,
    as_json: AsJson = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a test message through a notifier, and say whether its receiver took it."""
    body = {"notifier": notifier} | ({} if who is None else {"who": who})
    client = client_for(socket, config)
    answer = client.post_json("/v1/alarms/notify-test", body=body, timeout_s=NOTIFY_S)
    if as_json:
        out_json(answer)
    else:
        say(f"{printable(notifier)}: taken after {duration(answer['took_s'])}", "green")


alarms.command("test")(test_rules)


def _change(
    what: str,
    ids: Sequence[str],
    body: Mapping[str, Any],
    as_json: bool,
    socket: Path | None,
    config: Path | None,
) -> None:
    """Do it with each of them; one that cannot be does not keep the others from it."""
    from gateway.api.client import RequestFailed

    client = client_for(socket, config)
    given = {k: v for k, v in body.items() if v is not None}
    worst = 0
    for alarm in ids:
        if not all(alarm.partition("/")[::2]):
            complain(f"'{printable(alarm)}' is no alarm; {_meant(client, alarm)}")
            worst = max(worst, EXIT_USAGE)
            continue
        try:
            answer = client.post_json(f"/v1/alarms/{what}", body={"id": alarm, **given})
        except RequestFailed as error:
            complain(printable(f"{alarm}: {error}" if alarm not in str(error) else str(error)))
            worst = max(worst, EXIT_USAGE if error.status in (400, 404) else EXIT_BAD)
            continue
        done = answer["transition"]
        if as_json:
            out_json(done)
        else:
            out(printable(f"{done['id']}: {done['state']}, was {done['from_state']}"))
    if worst:
        raise typer.Exit(worst)


def _seconds(text: str) -> float:
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise WrongUsage(f"--for '{text}' is no length of time; expected e.g. 30min, 8h or 2d")
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if not 0 < seconds <= MOST_SHELVED_S:
        raise WrongUsage(f"--for '{text}' is out of range; expected more than 0, at most 30d")
    return seconds


def _meant(client: Client, text: str) -> str:
    """What was meant by a name without its device."""
    from gateway.api.client import RequestFailed

    try:
        listed = client.get_json("/v1/alarms/rules")["rules"]
    except RequestFailed:  # a node of many gateways has no rules
        listed = client.get_json("/v1/alarms")["alarms"]
    ids = [alarm["id"] for alarm in listed]
    name = text.strip("/").lower()
    same = [i for i in ids if i.partition("/")[2].lower() == name]
    same += [i for i in ids if i.partition("/")[2].lower().startswith(f"{name}.")]
    if same:
        return printable(f"did you mean {' or '.join(repr(i) for i in same[:3])}?")
    return "expected DEVICE/ALARM, as `gateway alarms list --rules` has it"


def _alarm_cells(alarm: Mapping[str, Any]) -> list[str]:
    state = alarm["state"]
    if alarm["shelved_until_ns"]:
        state += f" until {_when(alarm['shelved_until_ns'])}"
    elif alarm["acknowledged_by"]:
        state += f" by {alarm['acknowledged_by']}"
    mark = "first: " if alarm["first_out"] else ""
    return [
        alarm["id"],
        alarm["severity"].upper(),
        state,
        _when(alarm["since_ns"]),
        *_value_cells(alarm),
        mark + alarm["message"],
    ]


def _rule_cells(rule: Mapping[str, Any]) -> list[str]:
    severity = rule["severity"].upper()
    why = f" (not judged: {rule['not_known']})" if rule.get("not_known") else ""
    return [rule["id"], severity, rule["state"], *_value_cells(rule), rule["text"] + why]


def _transition_cells(t: Mapping[str, Any]) -> list[str]:
    by = f"{t['who']}: {t['why']}" if t["why"] else t["who"]
    return [
        _when(t["time_ns"]),
        t["id"],
        t["severity"].upper(),
        f"{t['state']} (was {t['from_state']})",
        *_value_cells(t),
        t["message"],
        by,
    ]


def _value_cells(document: Mapping[str, Any]) -> tuple[str, str]:
    unit = f" {document['unit']}" if document["unit"] else ""
    values = (document["value"], document["limit"])
    value, limit = ("-" if v is None else f"{number(v)}{unit}" for v in values)
    return value, limit


def _table(
    rows: Sequence[Sequence[str]], header: Sequence[str], *, right: Sequence[int]
) -> list[str]:
    return aligned(rows, header, right=right, dress=_dress_below(header))


def _dress_below(header: Sequence[str]) -> Callable[[int, str, str], str]:
    """Colours for the cells that say a state or a severity, and the header bold."""
    columns = {i for i, name in enumerate(header) if name in ("STATE", "SEVERITY")}

    def dress(column: int, text: str, padded: str) -> str:
        if text == header[column]:
            return coloured(padded, "bold")
        colour = _COLOURS.get(text.partition(" ")[0]) if column in columns else None
        return padded if colour is None else coloured(padded, colour)

    return dress


def _json_lines(found: Sequence[Mapping[str, Any]]) -> None:
    for each in found:
        out_json(each)


def _when(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9).isoformat(" ", "seconds")
