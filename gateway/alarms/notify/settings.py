"""Who is told of which alarms, and how: the ``notify:`` section, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.alarms.model import Severity, State
from gateway.alarms.notify.template import COMMAND_FIELDS, TOPIC_FIELDS, check_template
from gateway.secretfiles import (
    CaFile,
    CertFile,
    KeyFile,
    PasswordCredential,
    PasswordFile,
    check_certificates,
    one_of,
)
from gateway.settings import HostName, Settings

TOLD = (State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED, State.NORMAL)
"""That an alarm comes and goes; not what people and the machine's state do to it meanwhile."""

Port = Annotated[int, Field(ge=1, le=65535)]
TimeoutS = Annotated[
    float, Field(gt=0, le=120, description="Longest for one message, in seconds: then once more.")
]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


def _address(text: str) -> str:
    local, at, domain = text.rpartition("@")
    good = text.isascii() and text.isprintable() and not set(text) & set(' "(),:;<>[\\]')
    if not (at and local and domain and good and "@" not in local and len(text) <= 254):
        raise ValueError(f"'{text}' is no mail address; expected e.g. shift@plant.example")
    return text


Mailbox = Annotated[str, AfterValidator(_address)]


def _some(states: tuple[State, ...]) -> tuple[State, ...]:
    if not states:
        raise ValueError("there is none; expected at least one")
    return states


States = Annotated[
    tuple[Annotated[State, Field(strict=False)], ...],
    Field(strict=False, json_schema_extra={"minItems": 1}),
    AfterValidator(_some),  # with min_length a wrong one would be told as too few, too
]


class NotifierConfig(Settings):
    """One entry of ``notify:``; each kind adds its own fields."""

    type: str = Field(description="Kind: webhook, mqtt, email, command or journald.")
    severity: Annotated[Severity, Field(strict=False)] = Field(
        Severity.LOW, description="Only alarms that are at least so severe."
    )
    states: States = Field(tuple(State), description="Only when an alarm comes into one of these.")
    devices: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        None,
        min_length=1,
        description="Only alarms of these devices; * and ? are wildcards. Left out: of all.",
    )
    queue: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1000, description="Messages that wait at most; then the oldest is dropped, and counted."
    )
    max_age_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = Field(
        86_400.0,
        description="A message that could not be sent is dropped when it is so old, in seconds; "
        "after a restart, what was not sent before is sent if it is younger.",
    )


class WebhookConfig(NotifierConfig):
    """JSON by POST, signed."""

    type: Literal["webhook"]
    url: str = Field(description="Where to, e.g. https://plant.example/alarms.")
    secret_file: Path | None = Field(
        None, strict=False, description="File with the secret that messages are signed with."
    )
    secret_credential: str | None = Field(
        None, description="Or: name of the systemd credential that holds it."
    )
    ca_file: CaFile = None
    timeout_s: TimeoutS = 10.0

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"'{value}' is no address: {error}") from error
        plain = value.isascii() and value.isprintable() and " " not in value
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError(f"'{value}' is no address; expected e.g. https://plant.example/alarms")
        if parts.username is not None or parts.fragment:
            raise ValueError("the address holds a user or a fragment; expected neither")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> WebhookConfig:
        one_of(self, "secret_file", "secret_credential")
        return self


class MqttConfig(NotifierConfig):
    """A message to an MQTT broker, with QoS 1."""

    type: Literal["mqtt"]
    host: HostName = Field(description="The broker.")
    port: Port | None = Field(None, description="Left out: 1883, with TLS 8883.")
    topic: str = Field(
        "{gateway}/alarms/{device}/{alarm}",
        description="Topic, with {gateway}, {device}, {alarm}, {severity}, {state}.",
    )
    retain: bool = Field(
        False, description="true: the broker keeps the last message of each topic for newcomers."
    )
    tls: bool = Field(False, description="true: TLS; the broker's certificate is verified.")
    ca_file: CaFile = None
    cert_file: CertFile = None
    key_file: KeyFile = None
    user: str | None = Field(None, min_length=1, description="User name at the broker.")
    password_file: PasswordFile = None
    password_credential: PasswordCredential = None
    timeout_s: TimeoutS = 10.0

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, value: str) -> str:
        check_template(value, TOPIC_FIELDS)
        if not value or set(value) & set("+#\0") or len(value.encode()) > 1000:
            raise ValueError("no topic to publish to; expected levels without + and #")
        return value

    @model_validator(mode="after")
    def _fits(self) -> MqttConfig:
        one_of(self, "password_file", "password_credential")
        if self.user is None and (self.password_file or self.password_credential):
            raise ValueError("a password without a user; expected `user` too")
        check_certificates(self)
        return self


class EmailConfig(NotifierConfig):
    """Mail by SMTP; many alarms in one."""

    type: Literal["email"]
    states: States = Field(TOLD, description="Only when an alarm comes into one of these.")
    host: HostName = Field(description="The mail server.")
    port: Port | None = Field(None, description="Left out: 587 starttls, 465 tls, 25 none.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the line is protected; never less than this."
    )
    ca_file: CaFile = None
    user: str | None = Field(None, min_length=1, description="User name at the server.")
    password_file: PasswordFile = None
    password_credential: PasswordCredential = None
    from_: Mailbox = Field(alias="from", description="Sender.")
    to: Annotated[tuple[Mailbox, ...], Field(strict=False)] = Field(
        min_length=1, max_length=50, description="Recipients."
    )
    digest_s: Seconds = Field(
        60.0, description="At most one mail in this time, in seconds; it tells all that came."
    )
    timeout_s: TimeoutS = 20.0

    @model_validator(mode="after")
    def _fits(self) -> EmailConfig:
        one_of(self, "password_file", "password_credential")
        has_password = self.password_file is not None or self.password_credential is not None
        if (self.user is None) == has_password:
            raise ValueError("user and password belong together; expected both")
        if has_password and self.security == "none":
            raise ValueError("a password over an open line; expected security: starttls or tls")
        return self


class CommandConfig(NotifierConfig):
    """A program that is run for each message, without a shell."""

    type: Literal["command"]
    states: States = Field(TOLD, description="Only when an alarm comes into one of these.")
    command: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        min_length=1,
        max_length=64,
        description="Program (absolute path) and arguments, with {id}, {device}, {alarm}, "
        "{severity}, {state}, {message}...; the message is on its stdin as JSON, too.",
    )
    timeout_s: TimeoutS = 10.0
    tries: Annotated[int, Field(ge=1, le=100)] = Field(
        3, description="A message that the program fails on so often is dropped, and counted."
    )

    @field_validator("command")
    @classmethod
    def _is_program(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value[0].startswith("/"):
            raise ValueError(f"'{value[0]}' is no absolute path; expected e.g. /usr/bin/{value[0]}")
        if "{" in value[0]:
            raise ValueError("the program itself is no template; expected a path")
        for part in value:
            if "\0" in part:
                raise ValueError("an argument holds a NUL character; expected none")
            check_template(part, COMMAND_FIELDS)
        return value


class JournaldConfig(NotifierConfig):
    """An entry of the journal, with fields."""

    type: Literal["journald"]


NotifyConfig = Annotated[
    WebhookConfig | MqttConfig | EmailConfig | CommandConfig | JournaldConfig,
    Field(discriminator="type"),
]

KINDS: dict[str, type[NotifierConfig]] = {
    "webhook": WebhookConfig,
    "mqtt": MqttConfig,
    "email": EmailConfig,
    "command": CommandConfig,
    "journald": JournaldConfig,
}
"""Type -> its settings."""
