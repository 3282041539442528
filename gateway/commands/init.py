"""`gateway init`: looks at the machines and writes a configuration with starter maps."""

from __future__ import annotations

import shlex
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.console import EXIT_BAD, WrongUsage, complain, out, say
from gateway.commands.welcome import typed_command
from gateway.commands.wrapping import folded
from gateway.terminal import Colour, aligned, printable

if TYPE_CHECKING:
    from gateway.commands.firststeps.found import Found
    from gateway.commands.firststeps.place import Home
    from gateway.commands.firststeps.text import InfluxTo
    from gateway.commands.firststeps.wishes import Wish
    from gateway.sinks import SinkConfig

EXAMPLES = "/usr/share/doc/edge-gateway/examples"

Many = list[str] | None


def init(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", readable=False, help="The file to write.")
    ] = Path("gateway.yaml"),
    s7: Annotated[
        Many, typer.Option("--s7", metavar="HOST[:PORT][:RACK,SLOT]", help="An S7 PLC.")
    ] = None,
    db: Annotated[
        list[int] | None,
        typer.Option("--db", metavar="N", min=1, max=65535, help="S7: look at this data block."),
    ] = None,
    modbus: Annotated[
        Many, typer.Option("--modbus", metavar="HOST[:PORT]", help="Modbus/TCP, units 1 to 10.")
    ] = None,
    serial: Annotated[
        Many, typer.Option("--serial", metavar="PORT", help="Modbus RTU, e.g. /dev/ttyUSB0.")
    ] = None,
    nidaq: Annotated[
        Many,
        typer.Option("--nidaq", metavar="DEV|HOST:PORT[/DEV]", help="An NI card, here or there."),
    ] = None,
    influx: Annotated[
        str | None, typer.Option("--influx", metavar="URL", help="Deliver to this InfluxDB 2.")
    ] = None,
    org: Annotated[str, typer.Option("--org", help="InfluxDB: organisation.")] = "",
    bucket: Annotated[str | None, typer.Option("--bucket", help="InfluxDB: bucket.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", readable=False, help="InfluxDB: file with the API token."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of this gateway; else that of this PC.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; write even if nothing answers.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Look at machines, write a configuration with maps.

    Asks on a terminal where no machine is named; it only reads from them. Exit 1 if one does not
    answer and the files are not written.
    """
    from gateway.commands.firststeps import place, wishes

    home = place.home_of(file)
    place.refuse_existing([file], force)
    blocks = tuple(dict.fromkeys(db or ()))
    wanted: list[Wish] = [wishes.s7_at(text, blocks) for text in s7 or ()]
    wanted += [wishes.modbus_at(text) for text in modbus or ()]
    wanted += [wishes.serial_at(text) for text in serial or ()]
    wanted += [wishes.nidaq_at(text) for text in nidaq or ()]
    if blocks and not s7:
        raise WrongUsage("--db names a data block of a PLC; expected --s7 HOST, too")
    target, token = _influx(influx, org, bucket, token_file), None
    is_asked = sys.stdin.isatty() and not yes
    if not wanted and is_asked:
        wanted, name, target, token = _ask(file, name, target)
    if not wanted:
        raise WrongUsage(
            "nothing to read is named; expected e.g. --s7 192.168.0.10, --modbus 10.0.0.7, "
            "--serial /dev/ttyUSB0 or --nidaq cDAQ1Mod1"
        )
    if target is not None and token is None:
        target, token = _brought(file, home, target)
    name = _checked_name(name)
    found = _look(wanted)
    files = _files(file, home, name, found, target, token)
    place.refuse_existing(list(files), force)
    _proved(file, files)
    silent = [each for each in found if not each.answers]
    if is_asked and not typer.confirm(_question(files, silent), default=True, err=True):
        raise typer.Exit(EXIT_BAD)
    if silent and not is_asked and not yes:
        complain("nothing was written, because not all of them answer; with --yes it is")
        raise typer.Exit(EXIT_BAD)
    place.write_all(files, home, force=force)
    _tell(file, home, found, files)


def _ask(
    file: Path, name: str | None, target: InfluxTo | None
) -> tuple[list[Wish], str, InfluxTo | None, str | None]:
    from gateway.commands.firststeps import asking
    from gateway.commands.firststeps.text import InfluxTo

    say(
        f"A few questions, then the machines are looked at (only read), and {file} is written.\n"
        "Enter skips a question. Several of a kind: as options, `gateway init --help`.\n"
    )
    name = asking.ask_name(name or _usual_name())
    wanted = asking.ask_machines()
    token = None
    if wanted and target is None and (wish := asking.ask_influx()) is not None:
        token = wish.token
        _check_influx(wish.url, wish.org, wish.bucket)
        target = InfluxTo(wish.url, wish.org, wish.bucket, "influx.token")
    say("")
    return wanted, name, target, token


def _usual_name() -> str:
    return socket.gethostname().partition(".")[0] or "gateway"


def _checked_name(name: str | None) -> str:
    from gateway.config.validation import name_fault

    name = _usual_name() if name is None else name
    if (fault := name_fault(name)) is not None:
        raise WrongUsage(f"--name: {fault}")
    return name


def _influx(
    url: str | None, org: str, bucket: str | None, token_file: Path | None
) -> InfluxTo | None:
    from gateway.commands.firststeps.text import InfluxTo
    from gateway.commands.firststeps.wishes import existing_token

    if url is None:
        if org or bucket or token_file:
            raise WrongUsage("--org, --bucket and --token-file belong to --influx URL")
        return None
    if bucket is None or token_file is None:
        raise WrongUsage("--influx needs --bucket NAME and --token-file FILE, too")
    _check_influx(url, org, bucket)
    return InfluxTo(url, org, bucket, str(existing_token(token_file)))


def _brought(file: Path, home: Home, target: InfluxTo) -> tuple[InfluxTo, str | None]:
    """A token that lies elsewhere goes into the service's folder, as the service could not read it.

    The token is None where it stays where it is.
    """
    source = Path(target.token_file)
    if home.unit is None or source.parent == file.absolute().parent:
        return target, None
    copy = "influx.token" if file.stem == "gateway" else f"{file.stem}.influx.token"
    return target._replace(token_file=copy), source.read_text("utf-8").strip()


def _check_influx(url: str, org: str, bucket: str) -> None:
    from pydantic import ValidationError

    from gateway.sinks import find_sink

    settings = {"type": "influxdb", "url": url, "org": org, "bucket": bucket}
    try:
        find_sink("influxdb").config_class.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        words = str(first.get("ctx", {}).get("error", first["msg"]))
        option = {"url": "--influx", "bucket": "--bucket"}.get(str(first["loc"][:1]), "--influx")
        raise WrongUsage(f"{option}: {words}") from None


def _look(wanted: Sequence[Wish]) -> list[Found]:
    from gateway.commands.firststeps import modbus, nidaq, s7
    from gateway.commands.firststeps.wishes import NidaqAt, S7At

    counts: dict[str, int] = {}
    found = []
    for wish in wanted:
        kind = "meter"
        if isinstance(wish, S7At):
            kind = "plc"
        elif isinstance(wish, NidaqAt):
            kind = "daq"
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind}_{counts[kind]}"
        say(f"{wish.where}: looking ...", "dim")
        if isinstance(wish, S7At):
            each = s7.look(wish, name)
        elif isinstance(wish, NidaqAt):
            each = nidaq.look(wish, name)
        else:
            each = modbus.look(wish, name)
        for line in each.said:
            _say(line, colour="green" if each.answers else "red")
        for line in each.faults:
            _say(line, colour="red")
        for line in each.hints:
            _say(line, "- ")
        found.append(each)
    return found


def _say(text: str, mark: str = "", colour: Colour | None = None) -> None:
    for line in folded(printable(text), sys.stderr, first=f"  {mark}", rest="    "):
        say(line, colour)


def _files(
    file: Path,
    home: Home,
    name: str,
    found: Sequence[Found],
    target: InfluxTo | None,
    token: str | None,
) -> dict[Path, tuple[str, int]]:
    """Path -> (text, mode); the configuration itself last."""
    from gateway.commands.firststeps.text import file_text

    files: dict[Path, tuple[str, int]] = {}
    if target is not None and token is not None:
        files[file.parent / target.token_file] = (token + "\n", home.secret_mode)
    for each in found:
        path = file.parent / "maps" / f"{each.devices[0].name}.yaml"
        files[path] = (each.map_text, home.file_mode)
    files[file] = (file_text(name, home, found, target), home.file_mode)
    return files


def _proved(file: Path, files: dict[Path, tuple[str, int]]) -> None:
    """What is about to be written passes `gateway check`; anything else is a bug of ours.

    Its servers are asked whether they would take data.
    """
    from gateway.config import load
    from gateway.errors import ConfigError

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, (text, mode) in files.items():
            copy = root / path.relative_to(file.parent)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text, "utf-8")
            copy.chmod(mode)
        try:
            plant = load(root / file.name)
        except ConfigError as error:
            first = error.faults[0]
            said = f"what was made does not pass the check: {first.message}"
            raise AssertionError(f"{said} (line {first.place.line})") from None
        for name, config in plant.sinks.items():
            if (url := getattr(config, "url", None)) is not None:
                say(f"{url}: looking ...", "dim")
                _ask_server(name, config, root)


def _ask_server(name: str, config: SinkConfig, folder: Path) -> None:
    from gateway.errors import GatewayError
    from gateway.sinks import RemoteSink, find_sink

    sink = find_sink(config.type)(name, config, folder)
    try:
        if isinstance(sink, RemoteSink) and sink.check():
            say("  answers, and takes data with this token", "green")
    except GatewayError as error:
        _say(f"it would store nothing: {error}", colour="red")
        _say("is the address right, and may this token write to this bucket?", "- ")
        _say("nothing is lost meanwhile: the data waits on disk", "- ")
    finally:
        sink.close()


def _question(files: dict[Path, tuple[str, int]], silent: Sequence[Found]) -> str:
    names = ", ".join(map(str, files))
    return f"\nWrite {names}{', although not all of them answer' if silent else ''}?"


def _tell(
    file: Path, home: Home, found: Sequence[Found], files: dict[Path, tuple[str, int]]
) -> None:
    say(f"Written: {', '.join(map(str, files))}", "green")
    if home.missing_group:
        say(
            "There is no group edge-gateway yet: install the package, then "
            f"chgrp -R edge-gateway {file.parent}",
            "yellow",
        )
    for example in _drop_ins(found) if home.unit else ():
        say(f"The service needs a drop-in for it: {EXAMPLES}/{example}.conf.example", "yellow")
    quoted, command = shlex.quote(str(file)), typed_command()
    device = found[0].devices[0].name
    rows = [
        [f"{command} doctor {quoted}", "what else is not as it should be"],
        [f"{command} read {quoted} {device}", "its values, once"],
        [f"{command} run {quoted}", "start; then edit the maps"],
    ]
    if home.unit:
        rows[2] = [f"systemctl enable --now {home.unit}", "start, now and with this PC"]
    out("Next")
    out("  " + line for line in aligned(rows))


def _drop_ins(found: Sequence[Found]) -> list[str]:
    """Names of the drop-ins that the service needs to reach these devices."""
    settings = [device.settings for each in found for device in each.devices]
    settings += [dict(bus) for each in found for bus in each.buses.values()]
    needed = []
    if any("serial" in each for each in settings):
        needed.append("serial")
    if any(each.get("driver") == "nidaq" and "grpc" not in each for each in settings):
        needed.append("daq")
    return needed
