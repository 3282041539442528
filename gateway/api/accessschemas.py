"""Shapes of what the app tells of access: sessions, the audit, devices that are switched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class SessionDocument(BaseModel):
    """Who asks, as the gateway sees it."""

    who: str = Field(description="Name of the token, or user of the socket; empty: nobody knows.")
    role: Literal["none", "viewer", "operator", "ingest"]
    via: Literal["socket", "token", "cookie", "loopback", "none"]
    expires_ns: int | None = Field(description="End of the session, ns since 1970; else null.")


class SignIn(BaseModel):
    """Body of what begins a session without a token."""

    model_config = ConfigDict(extra="forbid", strict=True)

    code: Annotated[
        str, Field(min_length=1, max_length=100, description="A code of `gateway sign-in`.")
    ]


class CodeDocument(BaseModel):
    """A sign-in code, for one use."""

    code: str = Field(description="To be typed into the page, e.g. K7QM-2XRD.")
    who: str = Field(description="As whom it signs in.")
    expires_ns: int = Field(description="Until when it counts, ns since 1970.")
    url: str | None = Field(description="The page at this machine; null: not served there.")


class ActionDocument(BaseModel):
    """An action, done or refused."""

    time_ns: int
    who: str
    via: str
    peer: str = Field(description="Address that it came from, or user of the Unix socket.")
    action: str = Field(description="Path of the request, e.g. alarms/acknowledge.")
    about: str = Field(description="Alarm, device or sink.")
    why: str
    ok: bool
    error: str = Field(description="Why it was refused or failed; else empty.")


class Audit(BaseModel):
    """Actions, the newest first."""

    actions: list[ActionDocument]
    notes: list[str] = Field(description="What is not listed, in words.")


class SwitchRequest(BaseModel):
    """Body of what enables or disables a device."""

    model_config = ConfigDict(extra="forbid", strict=True)

    device: Annotated[str, Field(min_length=1, max_length=200, description="A polled device.")]
    why: Annotated[str, Field(min_length=1, max_length=500, description="For those who ask later.")]
    who: Annotated[
        str | None,
        Field(max_length=100, description="On the Unix socket: who does it, if not its user."),
    ] = None


class Switched(BaseModel):
    """A device as it is now."""

    device: str
    enabled: bool
    who: str
    why: str
