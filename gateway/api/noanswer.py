"""Why a device cannot be asked now: since when, where it should be, and the reason in words."""

from __future__ import annotations

import time

from gateway.api.problems import Problem
from gateway.api.view import GatewayView
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.terminal import duration

_REASONS = {
    "refused": ("it refuses the connection", "is it on, and are its host and port right?"),
    "timeout": ("it does not answer in time", "is it on, and its network up?"),
    "unreachable": ("the network has no way to it", "is its host right, and the cable in?"),
    "unknown_host": ("nobody knows the name of its host", "is its host spelt right?"),
    "closed": ("it closes the connection", "has it a connection to spare?"),
    "protocol": ("its answers cannot be understood", "are its driver, host and port right?"),
    "late": ("its answers come too late", "try a longer timeout_s"),
    "no_port": ("its serial port is not there", "is the adapter plugged in?"),
    "no_permission": (
        "the gateway may not use its serial port",
        "is its user in the port's group?",
    ),
    "port_busy": ("its serial port is in use", "does another program use it?"),
    "port_settings": (
        "its serial port does not take baud, parity or stop_bits",
        "can the adapter do them? a pseudo-terminal has no parity",
    ),
    "gateway_no_path": ("its converter has no way to it", "is its unit right?"),
    "gateway_no_answer": ("its converter gets no answer from it", "is it on, and its unit right?"),
    "no_runtime": (
        "NI-DAQmx is not installed here",
        "install it, or use grpc: of a PC that has it",
    ),
    "device_lost": ("its card is gone", "is it plugged in and on, and its chassis reachable?"),
    "unknown_device": ("NI-DAQmx knows no such card", "is its name in the addresses right?"),
    "reserved": ("its card is reserved", "does another program use it?"),
    "config": ("its card refuses the settings", "the log has NI's words"),
    "overrun": ("samples are lost again and again", "is this computer too slow for its channels?"),
    "ended": ("its recording has ended", "play it with loop: true"),
    "gateway_fault": ("the gateway has a bug", "the log says where"),
    "driver_fault": ("its driver has a bug", "the log of the gateway says where"),
}
"""Reason of `DeviceUnavailable` -> it in words, and what to look at."""

_AGAIN = "try again; the status says more"


def no_answer(view: GatewayView, device: str, error: GatewayError, begun: float) -> Problem:
    """503 for a question that began at ``begun`` (monotonic clock) and came to nothing."""
    state = view.status()["devices"].get(device)
    if not isinstance(error, DeviceUnavailable) or state is None:
        return Problem(503, f"device {device}: {error}", _AGAIN)
    since_s = state["since_s"] or 0.0
    # one that was never read has told the status nothing
    where = state["endpoint"] or view.devices()[device].status().get("endpoint")
    name = f"device {device} ({where})" if where else f"device {device}"
    if state["state"] == "connecting":
        return Problem(503, f"{name}: the first connection is still being made", _AGAIN)
    if state["state"] != "lost" or since_s <= time.monotonic() - begun:
        return Problem(503, f"{name}: {error}", _AGAIN)
    words, expected = _REASONS.get(error.reason, (error.reason.replace("_", " "), _AGAIN))
    return Problem(503, f"{name} has been lost for {duration(since_s)}: {words}", expected)
