"""What `gateway plan` tells of a device that streams."""

from __future__ import annotations

import json
from typing import Any

from gateway.analysis.plan import StreamPlan
from gateway.commands.planning import DevicePlan
from gateway.terminal import aligned, count, duration, number, size


def stream_object(plan: DevicePlan, stream: StreamPlan) -> dict[str, Any]:
    """The plan of a stream, as JSON has it."""
    about = {
        "device": plan.driver.name,
        "driver": plan.driver.config.driver,
        "rate_hz": stream.rate_hz,
        "channels": [c.name for c in stream.channels],
        "columns": [list(t.columns) for t in stream.tables],
        "publish": "features" if stream.samples is None else "samples",
    }
    if stream.samples is None:
        about |= {
            "window_s": stream.window_s,
            "hop_s": stream.hop_s,
            "publish_every_s": stream.publish_every_s,
            "setups": [json.loads(stream.setup_texts[i][1]) for i in sorted(stream.setup_texts)],
        }
    return about


def stream_lines(plan: DevicePlan, stream: StreamPlan) -> list[str]:
    """The plan of a stream for people."""
    channels = len(stream.channels)
    head = (
        f"{plan.driver.name} ({plan.driver.config.driver}): {count(channels, 'channel')} at "
        f"{number(stream.rate_hz)} Hz"
    )
    if stream.samples is not None:
        return [head, f"  {stream.samples.key}: every sample is a row"]
    kept = channels * round(max(stream.window_s, stream.history_s) * stream.rate_hz) * 4
    rows = []
    for section in stream.sections:
        for index, table in zip(section.channels, section.tables, strict=True):
            spec = section.recipe.spec
            channel = stream.channels[index]
            full = channel.full_scale
            rows.append(
                [
                    channel.name,
                    str(dict(channel.setup).get("address", "")),
                    channel.unit if full is None else f"up to {full:.4g} {channel.unit}",
                    count(len(table.columns), "column"),
                    f"bearing lines of {spec.bearing.elements} elements" if spec.bearing else "",
                ]
            )
    return [
        head,
        f"  windows of {duration(stream.window_s)} every {duration(stream.hop_s)}, a row every "
        f"{duration(stream.publish_every_s)}; raw samples kept: {size(kept)}",
        *("    " + line for line in aligned(rows)),
    ]
