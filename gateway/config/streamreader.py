"""Reads the ``stream:`` of a device map: channels, and what is to be computed of each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.analysis.settings import NAME, SAMPLES_UP_TO_HZ, AnalysisConfig, StreamConfig
from gateway.config.collect import Collector
from gateway.config.placeholders import fill
from gateway.config.validation import describe, name_fault, outline, table_fault
from gateway.driver import ChannelConfig, ChannelSpec, StreamSpec
from gateway.errors import Place
from gateway.features.spec import fast_length
from gateway.settings import Settings
from gateway.yamlfile.document import Path_, Section

PATH: Path_ = ("stream",)

LONGEST_BLOCK_S = 1.0

OF_THE_STREAM = (
    "window_s", "hop_s", "publish_every_s", "history_s", "inputs", "states", "otherwise",
    "publish_in", "inputs_max_age_s",
)  # fmt: skip
"""Keys of ``analysis:`` that hold for all channels together."""

STAND_IN_HZ = 1e6
"""Rate to look for further faults with, where the given one cannot be used."""


@dataclass(slots=True)
class Streamed:
    """A stream as it was read, with its placeholders still open."""

    config: StreamConfig
    place: Place
    channels: list[ChannelSpec] = field(default_factory=list)
    analysis: AnalysisConfig = field(default_factory=lambda: AnalysisConfig.model_validate({}))
    own: dict[str, AnalysisConfig] = field(default_factory=dict)
    """Channel -> the settings that it has of its own; only those that are set count."""

    @property
    def rate_hz(self) -> float:
        """Samples of each channel a second; a stand-in where the file has none that can be used."""
        return STAND_IN_HZ if math.isnan(self.config.rate_hz) else self.config.rate_hz

    def units(self) -> dict[str, str]:
        """Channel -> unit, as the file has them."""
        return {channel.name: channel.spec.unit for channel in self.channels}

    @property
    def samples(self) -> bool:
        """Whether every sample is to be a row."""
        return self.config.publish == "samples"

    def apply(self, values: Mapping[str, object]) -> StreamSpec:
        """The stream for one device; a channel that has a placeholder without value is left out."""
        channels = []
        for channel in self.channels:
            address = channel.spec.address
            if address is not None and "{" in address:
                filled = fill(address, values)
                if filled is None:
                    continue
                spec = channel.spec.model_copy(update={"address": filled})
                channel = ChannelSpec(channel.name, spec, channel.place)
            channels.append(channel)
        if math.isnan(self.config.rate_hz):  # it is not more and not less than anything
            return StreamSpec(math.nan, 0.1, channels, self.place)
        rate_hz = self.rate_hz
        if self.samples:
            return StreamSpec(rate_hz, 0.1, channels, self.place)
        # a block is a hop, or a part of a long one, because a loss and a stop wait for the block;
        # a window is complete as soon as its last block is there
        _, hop = fast_length(rate_hz, self.analysis.window_s, self.analysis.hop_s)
        parts = (n for n in range(1, hop + 1) if hop % n == 0)
        longest = LONGEST_BLOCK_S * rate_hz
        block = next((hop // n for n in parts if hop / n <= longest), hop)
        return StreamSpec(rate_hz, block / rate_hz, channels, self.place)

    def analysis_of(self, channel: str | None, values: Mapping[str, object]) -> AnalysisConfig:
        """The settings of a channel, or of the stream (None), with placeholders filled."""
        own = self.own.get(channel or "")
        merged = self.analysis
        if own is not None:
            merged = merged.model_copy(
                update={key: getattr(own, key) for key in own.model_fields_set}
            )

        def filled(text: str) -> str:
            return fill(text, values) or text

        speed = merged.speed
        return merged.model_copy(
            update={
                "speed": filled(speed) if isinstance(speed, str) else speed,
                "inputs": {k: filled(v) for k, v in merged.inputs.items()},
                "states": {k: filled(v) for k, v in merged.states.items()},
            }
        )

    def path_of(self, channel: str | None, key: str) -> Path_:
        """Where a key of the settings of a channel stands."""
        own = self.own.get(channel or "")
        if channel is not None and own is not None and key in own.model_fields_set:
            return (*PATH, "channels", channel, "analysis", key)
        return (*PATH, "analysis", key)


def read_stream(
    file: Collector, channel_class: type[ChannelConfig], note: Callable[[str, Path_], bool]
) -> Streamed | None:
    """The stream of a map, None where it is unusable; faults go to the collector.

    ``note`` remembers the placeholders of a text.
    """
    section = file.section(PATH) or Section(1, 1)
    bare = outline(section, "channels", "analysis")
    bare.pop("analysis", None)  # it is read by itself
    refuse_misplaced(file, bare, StreamConfig, PATH, {"analysis": AnalysisConfig})
    sound, usable = file.validate(StreamConfig, bare, PATH)
    analysis = _read_analysis(file, (*PATH, "analysis"), note)
    channels = []
    own: dict[str, AnalysisConfig] = {}
    if isinstance(section.get("channels"), Section) and not section["channels"]:
        file.fault((*PATH, "channels"), "there are no channels; expected at least one", key=True)
    for name, channel in file.entries((*PATH, "channels")):
        path = (*PATH, "channels", name)
        if name == "analysis" and channel.keys() & AnalysisConfig.model_fields.keys():
            message = "it stands among the channels; expected beside `channels:`"
            file.fault(path, message, key=True)
            continue
        _keep_text(channel)
        bare = {k: v for k, v in channel.items() if k != "analysis"}
        elsewhere: Mapping[str, type[Settings]] = {
            "analysis": AnalysisConfig,
            "stream": StreamConfig,
        }
        refuse_misplaced(file, bare, channel_class, path, elsewhere)
        spec, _ = file.validate(channel_class, bare, path)
        if "analysis" in channel:
            settings = _read_analysis(file, (*path, "analysis"), note)
            if settings is not None:
                own[name] = settings
                _refuse_shared(file, settings, (*path, "analysis"))
        if spec is None:
            continue
        if spec.address is not None and not note(spec.address, (*path, "address")):
            continue
        channels.append(ChannelSpec(name, spec, file.document.place(path, key=True)))
    if usable is None:
        return None
    if not isinstance(usable.rate_hz, float):
        usable = usable.model_copy(update={"rate_hz": math.nan})
    table = usable.measurement
    wrong = (name_fault(table) or table_fault(table)) if isinstance(table, str) else None
    if wrong:
        file.fault((*PATH, "measurement"), wrong)
    if sound is not None:
        usable = _with_publish(file, sound, has_analysis=analysis is not None)
    place = file.document.place(PATH, key=True)
    return Streamed(usable, place, channels, analysis or AnalysisConfig.model_validate({}), own)


def _with_publish(file: Collector, config: StreamConfig, *, has_analysis: bool) -> StreamConfig:
    publish = config.publish
    if publish is None:
        slow = config.rate_hz <= SAMPLES_UP_TO_HZ and not has_analysis
        publish = "samples" if slow else "features"
    if publish == "samples" and config.rate_hz > SAMPLES_UP_TO_HZ:
        message = f"at {config.rate_hz:g} Hz every sample cannot be a row; expected at most 100 Hz"
        file.fault((*PATH, "publish"), message)
    if publish == "samples" and has_analysis:
        message = "nothing is computed where samples are rows; remove it, or use publish: features"
        file.fault((*PATH, "analysis"), message, key=True)
    return config.model_copy(update={"publish": publish})


def _read_analysis(
    file: Collector, path: Path_, note: Callable[[str, Path_], bool]
) -> AnalysisConfig | None:
    section = file.section(path)
    if section is None:
        if file.document.value(path[:-1]) is not None and path[-1] in (
            file.section(path[:-1]) or ()
        ):
            found = describe(file.document.value(path), file.document.text(path))
            file.fault(path, f"expected `key: value` entries, found {found}")
        return None
    _, usable = file.validate(AnalysisConfig, section, path)
    if usable is None:
        return None
    if isinstance(usable.speed, str):
        note(usable.speed, (*path, "speed"))
    for key in ("inputs", "states"):
        for name, text in getattr(usable, key).items():
            note(text, (*path, key, name))
    for key in ("inputs", "states", "bands_hz"):
        for name in getattr(usable, key):
            if not re.match(NAME, name):
                message = f"'{name}' has the wrong form; expected letters, digits and _"
                file.fault((*path, key, name), message, key=True)
    return usable


def _refuse_shared(file: Collector, settings: AnalysisConfig, path: Path_) -> None:
    for key in sorted(settings.model_fields_set & set(OF_THE_STREAM)):
        message = f"'{key}' holds for all channels together; set it in stream.analysis"
        file.fault((*path, key), message, key=True)


def refuse_misplaced(
    file: Collector,
    section: dict[str, object],
    cls: type[Settings],
    path: Path_,
    elsewhere: Mapping[str, type[Settings]],
) -> None:
    """Take out the keys that belong into another section, each with a fault that names it."""
    for key in section.keys() - cls.model_fields.keys():
        for name, other in elsewhere.items():
            if key in other.model_fields:
                file.fault((*path, key), f"'{key}' belongs into `{name}:`", key=True)
                del section[key]
                break


def _keep_text(channel: Section) -> None:
    """An address is text as it was written."""
    if type(channel.get("address")) in (int, float):
        channel["address"] = channel.spots["address"].text
