"""`gateway features`, `gateway spectrum`, `gateway capture`: waveforms for the analyst."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands import recorded
from gateway.commands.client import download
from gateway.commands.console import (
    AsJson,
    ConfigFile,
    DeviceName,
    WrongUsage,
    coloured,
    nearest,
    out,
    out_json,
    say,
    table,
)
from gateway.errors import GatewayError
from gateway.terminal import duration, number, printable, size

PEAKS = 10


def channel_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of channels for the shell's completion; nothing where the file cannot be read."""
    from gateway.config import load
    from gateway.driver import StreamDriver

    file, device = context.params.get("file"), context.params.get("device")
    try:
        driver = load(Path(str(file))).devices[str(device)]
    except (GatewayError, OSError, KeyError):
        return []
    channels = driver.channels if isinstance(driver, StreamDriver) else ()
    return [channel.name for channel in channels if channel.name.startswith(incomplete)]


Channel = Annotated[
    str,
    typer.Argument(
        metavar="CHANNEL", help="A channel of that device.", autocompletion=channel_names
    ),
]


def features(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING", readable=False, help="A file: npz, npy, wav, tdms, parquet or csv."
        ),
    ],
    channel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its channel, where it has several.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", min=0.001, help="Sample rate, where the file does not say it."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(metavar="UNIT", help="Unit of the samples; else the file's, or g.")
    ] = None,
    scale: Annotated[float, typer.Option(metavar="X", help="Multiply the samples by this.")] = 1.0,
    rpm: Annotated[
        float | None, typer.Option(metavar="RPM", min=0.001, help="Speed of the shaft.")
    ] = None,
    bearing: Annotated[
        str | None, typer.Option(metavar="NAME", help="Designation of the bearing, e.g. 6205.")
    ] = None,
    geometry: Annotated[
        str | None,
        typer.Option(
            metavar="N,BALL,PITCH,ANGLE", help="Or its elements, mm, mm and degrees: 9,7.94,39.04,0"
        ),
    ] = None,
    window_s: Annotated[float, typer.Option(metavar="S", help="Length of a window.")] = 1.0,
    hop_s: Annotated[float, typer.Option(metavar="S", help="From one to the next.")] = 0.1,
    velocity_band: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Band of the velocity, in Hz.")
    ] = "10,1000",
    envelope_band: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Band of the envelope, in Hz; else above 500."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="One window: the whole recording.")
    ] = False,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", readable=False, help="Draw waveform, spectrum and envelope spectrum."
        ),
    ] = None,
) -> None:
    """Compute the features of a recording.

    By the code of the gateway.

    Prints every window, then median and spread; with --json an object a window.
    """
    from gateway.features.engine import Engine
    from gateway.features.whole import windows
    from gateway.recordings import read_recording

    if not math.isfinite(scale) or scale == 0:
        raise WrongUsage(f"--scale {scale:g}; expected a number other than 0")
    for option, seconds in (("--window-s", window_s), ("--hop-s", hop_s)):
        if not 0 < seconds < math.inf:
            raise WrongUsage(f"{option} {seconds:g}; expected a number of seconds above 0")
    if hop_s > window_s and not whole:
        raise WrongUsage(f"--hop-s {hop_s:g} is more than --window-s {window_s:g}")
    found = read_recording(file, channel, rate)
    samples = found.data * scale if scale != 1.0 else found.data
    spec = recorded.spec(
        found, len(samples), unit, rpm, bearing, geometry, window_s, hop_s, velocity_band,
        envelope_band, whole=whole,
    )  # fmt: skip
    engine = Engine(spec, 1)
    speed_hz = None if rpm is None else rpm / 60.0
    try:
        values = windows(samples[: spec.samples] if whole else samples, engine, speed_hz)
    except ValueError as error:
        raise WrongUsage(f"{file}: {error}") from error
    if plot is not None:  # first: who reads the table may stop early
        from gateway.commands.plot import draw

        newest = recorded.plain(engine.names, values[-1])
        draw(plot, samples, engine, newest, f"{file.name} {found.channel}")
        say(f"{plot} is drawn")
    if as_json:
        for index, row in enumerate(values):
            end_s = (spec.samples + index * spec.hop) / spec.rate_hz
            out_json(
                {"window": index, "end_s": round(end_s, 6), **recorded.plain(engine.names, row)}
            )
    else:
        if unit is None and found.unit is None:
            say("the file does not say its unit: taken as g (--unit, --scale)")
        out(recorded.described(found, spec, len(values), rpm))
        if len(values) > 1:
            out(["", *recorded.window_table(engine.names, values, spec)])
        out(["", *recorded.summary(engine, values)])


def spectrum(
    file: ConfigFile,
    device: DeviceName,
    channel: Channel,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", readable=False, help="Draw waveform and spectra."),
    ] = None,
) -> None:
    """Show the newest spectra of a channel.

    Asks the running gateway: the largest lines of spectrum and envelope spectrum, and the features
    of the same window.
    """
    client = _client(file, device)
    params = {"device": device, "channel": channel}
    answer = client.get_json("/v1/spectrum", params, timeout_s=30.0)
    if as_json:
        out_json(answer)
    else:
        newest = client.get_json("/v1/latest", {"device": device})["values"]
        out(_spectrum_lines(answer, _doubts(newest, channel)))
    if plot is not None:
        from gateway.commands.plot import draw_spectra

        wave = client.get_json("/v1/waveform", params, timeout_s=30.0)
        draw_spectra(
            plot,
            wave["samples"],
            wave["rate_hz"],
            answer["amplitude"],
            answer["envelope"],
            answer["line_hz"],
            answer["features"],
            answer["unit"],
            f"{device} {channel}",
        )
        say(f"{plot} is drawn")


def _doubts(values: Sequence[Mapping[str, Any]], channel: str) -> list[str]:
    """Why values of the channel's newest row are not GOOD, if any."""
    own = [v for v in values if v["labels"].get("channel") == channel]
    found = Counter(f"{v['quality']}: {v['reason']}" for v in own if v["quality"] != "GOOD")
    return [
        f"{count} of {len(own)} values of its row are {words}" for words, count in found.items()
    ]


def _spectrum_lines(answer: Mapping[str, Any], doubts: Sequence[str] = ()) -> list[str]:
    unit, line_hz = answer["unit"], answer["line_hz"]
    lines = [
        printable(f"{answer['device']} {answer['channel']}: ")
        + f"lines {line_hz:g} Hz apart, {answer['rate_hz']:g} samples a second",
        f"the window ends at {datetime.fromtimestamp(answer['time_ns'] / 1e9):%Y-%m-%d %H:%M:%S}",
        *(coloured(printable(doubt), "yellow") for doubt in doubts),
    ]
    for key, of, its_unit in (
        ("amplitude", "SPECTRUM", unit),
        ("envelope", "ENVELOPE", f"{unit}^2"),
    ):
        rows = [
            [f"{index * line_hz:.2f}", number(value, 4)] for index, value in _peaks(answer[key])
        ]
        if rows:
            lines += ["", *table(rows, (f"{of} HZ", printable(its_unit)), right=(0, 1))]
    rows = [[n, recorded.shown(v)] for n, v in answer["features"].items()]
    return [*lines, "", *table(rows, ("FEATURE", "VALUE"), right=(1,))]


def _peaks(values: Sequence[float]) -> list[tuple[int, float]]:
    """The largest local maxima, apart from the first two lines, by frequency."""
    found = [
        (i, values[i])
        for i in range(2, len(values) - 1)
        if values[i - 1] < values[i] >= values[i + 1]
    ]
    return sorted(sorted(found, key=lambda each: -each[1])[:PEAKS])


def capture(
    file: ConfigFile,
    device: DeviceName,
    channel: Channel,
    target: Annotated[
        Path, typer.Argument(readable=False, help="File to write (.npz); it may not exist yet.")
    ],
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.001, help="The newest seconds, as far as kept."),
    ] = None,
) -> None:
    """Save the newest raw samples of a channel.

    Asks the running gateway; with all that the samples depend on. `gateway features TARGET`
    computes on it.
    """
    from gateway.recordings import describe_recording

    if target.suffix.lower() != ".npz":
        raise WrongUsage(f"{target}; expected a file that ends in .npz")
    client = _client(file, device)
    asked = {"device": device, "channel": channel}
    if seconds is not None:
        asked["seconds"] = str(seconds)
    path = "/v1/capture.npz"
    written = download(client, path, target, "samples are", asked, timeout_s=60.0)
    kept = describe_recording(target, channel)
    lasts_s = (kept.samples or 0) / (kept.rate_hz or math.inf)
    said = f"{target}: the newest {duration(lasts_s)}, {size(written)}"
    say(f"{said}, e.g. gateway features {target} --channel {channel}")


def _client(file: Path, device: str) -> Any:
    """The client of the gateway that runs this file."""
    from gateway.api.client import Client
    from gateway.config import load

    plant = load(file)
    if device not in plant.devices:
        raise WrongUsage(f"{file} has no device '{device}'; {nearest(device, plant.devices)}")
    return Client(plant.api.socket)
