"""The shapes of the answers about losses and dead letters, for /openapi.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)  # only described


class LossEntry(_Shape):
    """Rows of one table that will never reach one sink."""

    sink: str
    device: str
    table: str
    first_ns: int
    last_ns: int
    rows: int
    cause: str
    detail: str


class ToldLoss(LossEntry):
    """A loss, and when it was told."""

    time_ns: int = Field(description="When it was told, ns since 1970 UTC.")


class Losses(_Shape):
    """What was lost, and why."""

    rows_by_cause: dict[str, int] = Field(description="Since the start.")
    recent: list[LossEntry] = Field(description="The last ones since the start, oldest first.")
    losses: list[ToldLoss] | None = Field(
        None, description="With `from`: newest first, also of earlier runs."
    )
    notes: list[str] | None = Field(None, description="With `from`: what is not listed, and why.")


class DeadLetter(_Shape):
    """A line that a sink refused for good."""

    sink: str
    id: int = Field(description="Its number among the letters of this sink.")
    refused: str = Field(description="When: UTC, ISO 8601.")
    reason: str = Field(description="The server's words.")
    device: str = Field(description="? where the line does not tell.")
    table: str
    column: str | None = Field(description="The only column of the line; null: several.")
    time_ns: int = Field(description="Time of the row, ns since 1970 UTC.")
    on_its_way: bool = Field(description="It was sent once more; the sink has not answered yet.")
    whole: bool = Field(description="false: cut, or not text; it cannot be sent once more.")
    line: str = Field(description="What was refused; in a list its first 2000 characters.")


class DeadLetters(_Shape):
    """Dead letters of one or all sinks."""

    counts: dict[str, int] = Field(description="Sink -> how many it has.")
    letters: list[DeadLetter] = Field(description="Newest first.")


class ReplayedSink(_Shape):
    """What became of the letters of one sink."""

    spooled: int = Field(description="On their way now.")
    already: int = Field(description="Left out: on their way before.")
    not_whole: int = Field(description="Left out: cut, or not text.")


class Replayed(_Shape):
    """Letters that are sent once more."""

    sinks: dict[str, ReplayedSink]
