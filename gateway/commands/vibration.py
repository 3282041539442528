"""`gateway features`, `gateway spectrum`, `gateway capture`: waveforms for the analyst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import (
    AsJson,
    ConfigFile,
    DeviceName,
    WrongUsage,
    nearest,
    out,
    out_json,
    say,
    table,
)
from gateway.errors import GatewayError
from gateway.terminal import number, printable, size

if TYPE_CHECKING:
    from gateway.features.engine import Engine
    from gateway.features.spec import Spec
    from gateway.recordings import Recording

SHOWN = ("rms", "peak", "crest", "kurtosis", "velocity_rms", "bpfo_ratio", "bpfi_ratio",
         "bsf2_ratio")  # fmt: skip
"""Features of which every window is printed; of the others only median and spread."""

PEAKS = 10

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="A channel of that device.")]


def features(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING", readable=False, help="A file: npz, npy, wav, tdms or csv."
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

    found = read_recording(file, channel, rate)
    samples = found.data * scale if scale != 1.0 else found.data
    spec = _spec(
        found, len(samples), unit, rpm, bearing, geometry, window_s, hop_s, velocity_band,
        envelope_band, whole=whole,
    )  # fmt: skip
    engine = Engine(spec, 1)
    speed_hz = None if rpm is None else rpm / 60.0
    try:
        values = windows(samples[: spec.samples] if whole else samples, engine, speed_hz)
    except ValueError as error:
        raise WrongUsage(f"{file}: {error}") from error
    if as_json:
        for index, row in enumerate(values):
            end_s = (spec.samples + index * spec.hop) / spec.rate_hz
            out_json({"window": index, "end_s": round(end_s, 6), **_plain(engine.names, row)})
    else:
        out(_described(found, spec, len(values)))
        if not whole:
            out(["", *_window_table(engine.names, values, spec)])
        out(["", *_summary(engine, values)])
    if plot is not None:
        from gateway.commands.plot import draw

        draw(
            plot, samples, engine, _plain(engine.names, values[-1]), f"{file.name} {found.channel}"
        )
        say(f"{plot} is drawn")


def _spec(
    found: Recording,
    count: int,
    unit: str | None,
    rpm: float | None,
    bearing: str | None,
    geometry: str | None,
    window_s: float,
    hop_s: float,
    velocity_band: str,
    envelope_band: str | None,
    *,
    whole: bool,
) -> Spec:
    from gateway.features.bearings import find_bearing, parse_geometry
    from gateway.features.spec import Spec, fast_length

    if bearing is not None and geometry is not None:
        raise WrongUsage("--bearing and --geometry exclude each other")
    if (bearing is not None or geometry is not None) and rpm is None:
        raise WrongUsage("the lines of a bearing need the speed of the shaft; add --rpm")
    try:
        its = parse_geometry(geometry) if geometry is not None else None
        if bearing is not None:
            its = find_bearing(bearing).geometry
        samples, hop = fast_length(found.rate_hz, window_s, hop_s)
        if whole:
            samples = hop = count - count % 2
        low, high = _band("--velocity-band", velocity_band)
        return Spec(
            rate_hz=found.rate_hz,
            samples=samples,
            hop=hop,
            unit=unit or found.unit or "g",
            # a slow recording has less of the band, and says so
            velocity_band_hz=(low, min(high, found.rate_hz / 2)),
            envelope_band_hz=_band("--envelope-band", envelope_band) if envelope_band else None,
            has_speed=rpm is not None,
            bearing=its,
        )
    except ValueError as error:
        raise WrongUsage(str(error)) from error


def _band(option: str, text: str) -> tuple[float, float]:
    parts = text.split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        raise WrongUsage(f"{option} '{text}'; expected two numbers such as 10,1000") from None
    return low, high


def _plain(names: Sequence[str], row: Sequence[float]) -> dict[str, float | None]:
    values = [float(v) for v in row]
    return {n: v if math.isfinite(v) else None for n, v in zip(names, values, strict=True)}


def _described(found: Recording, spec: Spec, windows: int) -> list[str]:
    low, high = spec.velocity_band_hz
    text = (
        f"{found.path.name} {found.channel}: {len(found.data)} samples at {found.rate_hz:g} Hz, "
        f"{spec.unit}; {windows} windows of {spec.samples / spec.rate_hz:g} s"
    )
    lines = [printable(text)]
    if spec.is_acceleration:
        lines.append(f"velocity {low:g} to {high:g} Hz")
    if spec.envelope_hz is not None:
        lines.append("envelope {:g} to {:g} Hz".format(*spec.envelope_hz))
    return lines


def _window_table(names: Sequence[str], values: Any, spec: Spec) -> list[str]:
    picked = [n for n in SHOWN if n in names]
    columns = [names.index(n) for n in picked]
    rows = []
    for index, row in enumerate(values):
        end_s = (spec.samples + index * spec.hop) / spec.rate_hz
        rows.append([f"{end_s:.2f}", *(_shown(row[c]) for c in columns)])
    return table(rows, ("END S", *(n.upper() for n in picked)), right=range(len(picked) + 1))


def _summary(engine: Engine, values: Any) -> list[str]:
    import numpy as np

    rows = []
    for index, feature in enumerate(engine.features):
        known = values[:, index][np.isfinite(values[:, index])]
        if not len(known):
            rows.append([feature.name, "-", "-", "-", feature.unit])
            continue
        low, middle, high = np.percentile(known, (10, 50, 90))
        rows.append([feature.name, _shown(middle), _shown(low), _shown(high), feature.unit])
    return table(rows, ("FEATURE", "MEDIAN", "10 %", "90 %", "UNIT"), right=(1, 2, 3))


def _shown(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else number(float(value), 4)


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
        out(_spectrum_lines(answer))
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


def _spectrum_lines(answer: Mapping[str, Any]) -> list[str]:
    unit, line_hz = answer["unit"], answer["line_hz"]
    lines = [
        printable(f"{answer['device']} {answer['channel']}: ")
        + f"lines {line_hz:g} Hz apart, {answer['rate_hz']:g} samples a second",
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
    rows = [[n, _shown(v)] for n, v in answer["features"].items()]
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
    client = _client(file, device)
    from urllib.parse import urlencode

    params = {"device": device, "channel": channel}
    query = urlencode(params | ({} if seconds is None else {"seconds": str(seconds)}))
    try:
        with target.open("xb") as stream:
            try:
                written = client.download(f"/v1/capture.npz?{query}", stream, timeout_s=60.0)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise WrongUsage(f"{target} exists; samples are written to a new file") from None
    except OSError as error:
        raise GatewayError(f"{target}: {error.strerror}") from error
    say(f"{target}: {size(written)}, e.g. gateway features {target} --channel {channel}")


def _client(file: Path, device: str) -> Any:
    """The client of the gateway that runs this file."""
    from gateway.api.client import Client
    from gateway.config import load

    plant = load(file)
    if device not in plant.devices:
        raise WrongUsage(f"{file} has no device '{device}'; {nearest(device, plant.devices)}")
    return Client(plant.api.socket)
