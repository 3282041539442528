"""`gateway check`, `gateway plan` and `gateway schema`: what a configuration says and asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import (
    EXIT_BAD,
    EXIT_CONFIG,
    AsJson,
    ConfigFile,
    WrongUsage,
    complain,
    device_names,
    nearest,
    out,
    out_json,
    say,
)
from gateway.errors import ConfigError, Fault
from gateway.terminal import count, duration, number, printable, size

if TYPE_CHECKING:
    from gateway.commands.planning import DevicePlan
    from gateway.config import Plant


def check(
    file: ConfigFile,
    as_json: AsJson = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Also: what a reload would do to the running gateway.")
    ] = False,
) -> None:
    """Check a configuration and all its maps.

    All faults at once, as file:line:col: path: fault; expected. Exit 78. Where there is none: what
    it amounts to, and warnings.
    """
    from gateway.config import load

    try:
        plant = load(file)
    except ConfigError as error:
        if not as_json:
            raise
        out_json({"file": str(file), "ok": False, "faults": [_fault(f) for f in error.faults]})
        raise typer.Exit(EXIT_CONFIG) from None
    summary = _summary(plant)
    if diff:
        from gateway.commands.reload import differences

        summary["differences"] = list(differences(plant, file))
    if as_json:
        out_json({"file": str(file), "ok": True, **summary})
        return
    disabled = f" (and {summary['disabled']} disabled)" if summary["disabled"] else ""
    out(
        f"{file}: good. {count(summary['devices'], 'device')}{disabled}, "
        f"{count(summary['groups'], 'group')}, {count(summary['tags'], 'tag')}, "
        f"{number(summary['values_per_s'])} values/s"
        + (f", {count(summary['alarms'], 'alarm')}" if summary["alarms"] else "")
    )
    for name, sink in summary["sinks"].items():
        out(f"  {printable(name)}: {printable(_sink_text(sink))}")
    for warning in summary["warnings"]:
        complain(printable(warning), "warning")
    out(printable(line) for line in summary.get("differences", ()))


def _fault(fault: Fault) -> dict[str, Any]:
    return {**fault.place._asdict(), "message": fault.message}


def _summary(plant: Plant) -> dict[str, Any]:
    from gateway.commands.planning import overloads
    from gateway.commands.welcome import sink_target

    buses = list(_plans(plant))
    plans = [plan for _, of_bus in buses for plan in of_bus]
    warnings = [*plant.warnings]
    warnings += [text for bus, of_bus in buses for text in overloads(bus, of_bus)]
    sinks = {}
    for name, config in plant.sinks.items():
        sinks[name] = {"type": config.type, "target": sink_target(plant.state_dir, name, config)}
        if config.type == "sqlite":
            kept = keeping(plans, config)
            sinks[name].update(kept)
            if kept["days_that_fit"] < kept["retention_days"]:
                warnings.append(
                    f"sink '{name}': {number(kept['retention_days'])} days are asked for, but "
                    f"values of about {duration(kept['days_that_fit'] * 86_400)} fit into "
                    f"{size(kept['max_bytes'])}; raise max_bytes or store_every_s"
                )
    return {
        "name": plant.name,
        "devices": len(plans),
        "disabled": len(plant.devices) - len(plans),
        "groups": sum(len(plan.groups) for plan in plans),
        "tags": sum(plan.tags for plan in plans),
        "values_per_s": round(sum(plan.values_per_s for plan in plans), 3),
        "alarms": len(plant.alarms.rules),
        "sinks": sinks,
        "warnings": warnings,
    }


def keeping(plans: Iterable[DevicePlan], config: Any) -> dict[str, Any]:
    """How long a historian of these settings keeps what these devices give.

    Dead bands are left out of the account: at worst, every value changes.
    """
    from gateway.sinks.historian.sink import days_that_fit

    values_per_s = rows_per_s = 0.0
    for plan in plans:
        for each in plan.groups:
            every_s = max(each.group.interval_s, config.store_every_s)
            values_per_s += each.tags / every_s
            rows_per_s += len(each.group.tables) / every_s
    columns = values_per_s / rows_per_s if rows_per_s else 1.0
    return {
        "stored_values_per_s": round(values_per_s, 3),
        "days_that_fit": round(days_that_fit(values_per_s, config.max_bytes, columns), 2),
        "retention_days": config.retention_days,
        "max_bytes": int(config.max_bytes),
    }


def _sink_text(sink: dict[str, Any]) -> str:
    text = str(sink["target"])
    if "days_that_fit" in sink:
        days = min(sink["days_that_fit"], sink["retention_days"])
        text += (
            f"; {number(sink['stored_values_per_s'])} values/s, of which {size(sink['max_bytes'])} "
            f"hold about {duration(sink['days_that_fit'] * 86_400)}; kept for "
            f"{duration(days * 86_400)}"
        )
    return text


def _plans(plant: Plant) -> Iterator[tuple[str, list[DevicePlan]]]:
    """The plans of all enabled devices, bus by bus."""
    from gateway.commands.planning import plan_device

    for bus in plant.buses:
        enabled = [d for d in bus.devices if d.config.enabled]
        if enabled:
            yield bus.name, [plan_device(driver) for driver in enabled]


def plan(
    file: ConfigFile,
    device: Annotated[
        str | None,
        typer.Argument(metavar="[DEVICE]", help="Only this device.", autocompletion=device_names),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the requests of every poll and their cost.

    The actual requests, their bytes, and the estimated time of a poll against its interval.
    """
    from gateway.commands.planning import device_lines, device_object, overloads
    from gateway.commands.streamplan import stream_lines, stream_object
    from gateway.config import load

    plant = load(file)
    if device is not None and device not in plant.devices:
        raise WrongUsage(f"{file} has no device '{device}'; {nearest(device, plant.devices)}")
    for bus, plans in _plans(plant):
        wanted = [p for p in plans if device in (None, p.driver.name)]
        for each in wanted:
            stream = plant.streams.get(each.driver.name)
            if stream is not None:
                if as_json:
                    out_json(stream_object(each, stream))
                else:
                    out(stream_lines(each, stream))
            elif as_json:
                out_json(device_object(each))
            else:
                out(device_lines(each))
        if not as_json and wanted and len(plans) > 1:
            share = sum(p.share for p in plans)
            out(f"bus {printable(bus)}: {count(len(plans), 'device')}, about {share:.1%} busy")
        if wanted:
            for warning in overloads(bus, plans):
                complain(printable(warning), "warning")


def schema(
    of: Annotated[
        str, typer.Argument(metavar="[OF]", help="gateway, or the driver of a device map.")
    ] = "gateway",
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIR", readable=False, help="Write all there.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="DIR", readable=False, help="Exit 1 if they differ."),
    ] = None,
) -> None:
    """Print or write the JSON Schema, for editors."""
    from gateway.config.schema import schema_files

    files = schema_files()
    if write is not None:
        try:
            write.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (write / name).write_text(text, "utf-8")
        except OSError as error:
            raise WrongUsage(f"{write} cannot be written: {error.strerror}") from error
        say(f"{count(len(files), 'file')} written to {write}")
    elif check is not None:
        stale = [n for n, text in files.items() if _text_of(check / n) != text]
        for name in stale:
            complain(f"{check / name} is not the schema of this version")
        if stale:
            raise typer.Exit(EXIT_BAD)
    else:
        known = {name.removesuffix(".json").removeprefix("map-"): name for name in files}
        if of not in known:
            raise WrongUsage(f"there is no schema '{of}'; {nearest(of, known)}")
        out(files[known[of]].rstrip("\n"))


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
