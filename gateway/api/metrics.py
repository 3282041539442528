"""The status document in Prometheus' text format, version 0.0.4.

Counters begin at 0 with the process. Durations are in seconds, sizes in bytes. What the status
does not know (None) is left out, never shown as 0.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from gateway.alarms.model import Severity
from gateway.losses import CAUSES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Type = Literal["counter", "gauge"]

DEVICE_STATES = ("connecting", "good", "degraded", "lost", "disabled")
SINK_STATES = ("good", "retrying", "blocked")
NOTIFIER_STATES = ("good", "retrying", "refusing")
DROP_CAUSES = ("overflow", "too_old", "refused")
"""Of messages to a notifier."""

_DEVICE: tuple[tuple[str, Type, str, str], ...] = (
    ("polls", "counter", "polls_total", "Polls of the device that were begun."),
    ("errors", "counter", "errors_total", "Polls and connections that failed."),
    ("late_ticks", "counter", "late_ticks_total", "Polls skipped: the one before was late."),
    ("tags", "gauge", "tags", "Tags of the device."),
    ("tags_bad", "gauge", "tags_bad", "Tags whose newest value is BAD."),
    ("since_s", "gauge", "state_age_seconds", "Time since the device came into its state."),
)
_STREAM: tuple[tuple[str, str, Type, str], ...] = (
    ("gaps", "gaps_total", "counter", "Times that samples of a stream did not go on."),
    ("missing_s", "missing_seconds_total", "counter", "Time of which there are no samples."),
    ("rate_hz", "rate_hertz", "gauge", "Samples of each channel a second."),
)
_SINK: tuple[tuple[str, Type, str, str], ...] = (
    ("rows_accepted", "counter", "rows_accepted_total", "Rows taken for the sink."),
    ("rows_stored", "counter", "rows_stored_total", "Rows that the sink confirmed as stored."),
    ("rows_rejected", "counter", "rows_rejected_total", "Rows that the sink refused for good."),
    (
        "values_rejected",
        "counter",
        "values_rejected_total",
        "Values that the sink refused for good.",
    ),
    ("rows_lost", "counter", "rows_lost_total", "Rows discarded before they were stored."),
    ("values_stored", "counter", "values_stored_total", "Values in the rows that were stored."),
    ("pending_rows", "gauge", "pending_rows", "Rows that wait for the sink."),
    ("pending_batches", "gauge", "pending_batches", "Batches that wait for the sink."),
    ("spool_bytes", "gauge", "spool_bytes", "Size of the sink's spool on disk."),
    ("spool_age_s", "gauge", "spool_age_seconds", "Age of the oldest batch that waits."),
    ("last_stored_s", "gauge", "last_stored_age_seconds", "Time since something was stored."),
    ("dead_letters", "gauge", "dead_letters", "Refused lines that are kept as dead letters."),
    (
        "dead_letters_replayed",
        "counter",
        "dead_letters_replayed_total",
        "Dead letters that the sink has stored after all.",
    ),
)
_NOTIFIER: tuple[tuple[str, Type, str, str], ...] = (
    ("sent", "counter", "sent_total", "Messages that the receiver took."),
    ("failed", "counter", "failed_total", "Tries to send that failed."),
    ("waiting", "gauge", "waiting", "Messages that wait for the receiver."),
    ("last_sent_s", "gauge", "last_sent_age_seconds", "Time since it took one."),
)
_INGEST: tuple[tuple[str, Type, str, str], ...] = (
    ("rows", "counter", "rows_total", "Rows of other programs that were taken."),
    ("rows_late", "counter", "rows_late_total", "Of these, not newer than what was there."),
    ("waiting_rows", "gauge", "waiting_rows", "Rows of other programs that are not on disk yet."),
    ("waiting_batches", "gauge", "waiting_batches", "Batches by gRPC not acknowledged yet."),
    ("streams", "gauge", "streams", "Streams by gRPC that are open."),
    ("tables", "gauge", "tables", "Tables that senders have made."),
    ("max_tables", "gauge", "max_tables", "Most tables that senders may make."),
)


class _Text:
    """Families in the order of their first sample; the samples of each stay together."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def add(self, name: str, kind: Type, text: str, value: Any, /, **labels: str) -> None:
        """One sample; None is left out."""
        if value is None:
            return
        lines = self._families.get(name)
        if lines is None:
            escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
            lines = self._families[name] = [f"# HELP {name} {escaped}", f"# TYPE {name} {kind}"]
        given = ",".join(f'{key}="{_escaped(str(label))}"' for key, label in labels.items())
        lines.append(f"{name}{{{given}}} {_number(value)}" if given else f"{name} {_number(value)}")

    def one_of(
        self, name: str, text: str, states: Iterable[str], state: str, /, **labels: str
    ) -> None:
        """1 for the state that holds, 0 for the others."""
        for each in dict.fromkeys((*states, state)):
            self.add(name, "gauge", text, int(each == state), **labels, state=each)

    def __str__(self) -> str:
        return "".join(f"{line}\n" for lines in self._families.values() for line in lines)


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "+Inf" if value > 0 else "-Inf"
        return repr(value)
    return str(int(value))


def render(
    status: Mapping[str, Any], ready: bool, clients_cut_off: Mapping[str, int] | None = None
) -> str:
    """The whole exposition. ``status`` has the shape of `gateway.api.schemas.StatusDocument`."""
    out = _Text()
    about = status["gateway"]
    help_ = "The gateway's name and version; always 1."
    out.add("gateway_info", "gauge", help_, 1, name=about["name"], version=about["version"])
    out.add("gateway_uptime_seconds", "gauge", "Time since the start.", about["uptime_s"])
    out.add("gateway_ready", "gauge", "1 while data flows, as /readyz says.", int(ready))
    degraded = int(status["state"] != "good")
    out.add("gateway_degraded", "gauge", "1 while there is any problem.", degraded)
    number = len(status["problems"])
    out.add("gateway_problems", "gauge", "Problems that the status names.", number)
    for name, device in status["devices"].items():
        _device(out, name, device)
    for name, sink in status["sinks"].items():
        _sink(out, name, sink)
    if (alarms := status.get("alarms")) is not None:
        active = {**dict.fromkeys(map(str, Severity), 0), **alarms["active"]}
        for severity, alarms_active in active.items():
            help_ = "Alarms of machines that are active."
            out.add("gateway_alarms_active", "gauge", help_, alarms_active, severity=severity)
    for name, notifier in status.get("notifiers", {}).items():
        _notifier(out, name, notifier)
    if (ingest := status.get("ingest")) is not None:
        _ingest(out, ingest)
    lost = {**dict.fromkeys(CAUSES, 0), **status["losses"]}  # a rate needs the 0 before the first
    for cause, rows in lost.items():
        out.add("gateway_lost_rows_total", "counter", "Rows lost, by cause.", rows, cause=cause)
    for why, clients in (clients_cut_off or {}).items():
        help_ = "Clients of this API that were cut off, by why."
        out.add("gateway_api_clients_cut_off_total", "counter", help_, clients, why=why)
    synchronised = status["clock"].get("synchronised")
    help_ = "1 while NTP or PTP disciplines the clock."
    out.add("gateway_clock_synchronised", "gauge", help_, synchronised)
    _process(out)
    return str(out)


def _device(out: _Text, name: str, device: Mapping[str, Any]) -> None:
    state = "gateway_device_state"
    out.one_of(state, "1 for the state it is in.", DEVICE_STATES, device["state"], device=name)
    for key, kind, suffix, text in _DEVICE:
        out.add(f"gateway_device_{suffix}", kind, text, device.get(key), device=name)
    help_ = "Tags that the device refuses and that are tried again slowly."
    quarantined = len(device.get("quarantined", ()))
    out.add("gateway_device_tags_quarantined", "gauge", help_, quarantined, device=name)
    for key, metric, text in (
        ("lateness_ms", "gateway_device_lateness_seconds", "How late polls began."),
        ("read_ms", "gateway_device_read_seconds", "How long polls took."),
    ):
        for stat, value_ms in device.get(key, {}).items():
            out.add(metric, "gauge", text, value_ms / 1e3, device=name, stat=stat)
    _stream(out, name, device.get("facts", {}).get("stream", {}))
    for group in device.get("groups", ()):
        labels = {"device": name, "group": group["name"]}
        out.add("gateway_group_polls_total", "counter", "Polls done.", group["polls"], **labels)
        help_ = "Polls skipped: the one before was late."
        out.add("gateway_group_missed_total", "counter", help_, group["missed"], **labels)


def _stream(out: _Text, name: str, stream: Mapping[str, Any]) -> None:
    for key, metric, kind, text in _STREAM:
        out.add(f"gateway_stream_{metric}", kind, text, stream.get(key), device=name)
    for stat, value_ms in stream.get("latency_ms", {}).items():
        text = "From a window's last sample to its published row."
        labels = {"device": name, "stat": stat}
        out.add("gateway_stream_latency_seconds", "gauge", text, value_ms / 1e3, **labels)


def _sink(out: _Text, name: str, sink: Mapping[str, Any]) -> None:
    labels = {"sink": name, "type": sink["type"]}
    text = "1 for the state it is in."
    out.one_of("gateway_sink_state", text, SINK_STATES, sink["state"], **labels)
    for key, kind, suffix, text in _SINK:
        out.add(f"gateway_sink_{suffix}", kind, text, sink.get(key), sink=name)


def _notifier(out: _Text, name: str, notifier: Mapping[str, Any]) -> None:
    labels = {"notifier": name, "type": notifier["type"]}
    text = "1 for the state it is in."
    out.one_of("gateway_notifier_state", text, NOTIFIER_STATES, notifier["state"], **labels)
    for key, kind, suffix, text in _NOTIFIER:
        out.add(f"gateway_notifier_{suffix}", kind, text, notifier.get(key), notifier=name)
    text = "Messages that were given up, by cause."
    for cause, number in {**dict.fromkeys(DROP_CAUSES, 0), **notifier["dropped"]}.items():
        labels = {"notifier": name, "cause": cause}
        out.add("gateway_notifier_dropped_total", "counter", text, number, **labels)


def _ingest(out: _Text, ingest: Mapping[str, Any]) -> None:
    for key, kind, suffix, text in _INGEST:
        out.add(f"gateway_ingest_{suffix}", kind, text, ingest.get(key))
    name, text = "gateway_ingest_refused_total", "Lines or rows that were refused, by why."
    for reason, number in ingest["refused_by"].items():
        out.add(name, "counter", text, number, reason=reason)
    name, text = (
        "gateway_ingest_messages_total",
        "Bodies by HTTP and batches by gRPC that were read.",
    )
    for via, number in ingest["messages_by"].items():
        out.add(name, "counter", text, number, via=via)
    name, text = "gateway_ingest_requests_total", "Bodies answered and streams ended, by outcome."
    for via, outcomes in ingest["requests"].items():
        for outcome, number in outcomes.items():
            out.add(name, "counter", text, number, via=via, outcome=outcome)


def _process(out: _Text) -> None:
    """The names that Prometheus' own clients use; left out where /proc hides them."""
    text = "User and system CPU time spent."
    out.add("process_cpu_seconds_total", "counter", text, time.process_time())
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()
        page = resource.getpagesize()
        text = "Resident memory size."
        out.add("process_resident_memory_bytes", "gauge", text, int(pages[1]) * page)
        text = "Virtual memory size."
        out.add("process_virtual_memory_bytes", "gauge", text, int(pages[0]) * page)
        fds = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path for each is costly
        out.add("process_open_fds", "gauge", "Open file descriptors.", fds)
    except (OSError, IndexError, ValueError):
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    out.add("process_max_fds", "gauge", "Most file descriptors.", limit if limit > 0 else None)
