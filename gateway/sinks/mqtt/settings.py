"""Settings of the sink `mqtt`."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from gateway.secretfiles import (
    CaFile,
    CertFile,
    KeyFile,
    PasswordCredential,
    PasswordFile,
    check_certificates,
    one_of,
)
from gateway.settings import HostName
from gateway.sinks import SinkConfig
from gateway.sinks.naming import filled, pattern_fault


class MqttConfig(SinkConfig):
    """A sink of type ``mqtt``."""

    type: str = Field("mqtt", description="mqtt")
    host: HostName = Field(description="Name or IP address of the broker.")
    port: int | None = Field(
        None, ge=1, le=65535, description="Its TCP port; left out: 1883, or 8883 with `tls`."
    )
    user: str | None = Field(None, min_length=1, description="User, where the broker asks for one.")
    password_file: PasswordFile = None
    password_credential: PasswordCredential = None
    tls: bool = Field(False, description="Encrypt, and verify the broker's certificate and name.")
    ca_file: CaFile = None
    cert_file: CertFile = None
    key_file: KeyFile = None
    client_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Client id, of which the broker knows one at a time; left out: made of the "
        "names of gateway and sink.",
    )
    topic: str = Field(
        "edge-gateway/{gateway}/{device}/{table}",
        min_length=1,
        max_length=1000,
        description="Topic; {gateway}, {device} and {table} stand for a row's own.",
    )
    status_topic: str | None = Field(
        "edge-gateway/{gateway}/status",
        min_length=1,
        max_length=1000,
        description="Topic of the birth and will messages, which are retained; null: none.",
    )
    retain: bool = Field(False, description="Have the broker keep the last message of each topic.")
    units: bool = Field(False, description="Write the units of the values into each message.")
    in_flight: int = Field(
        100, ge=1, le=65535, description="Messages that may wait for their acknowledgement."
    )
    keepalive_s: int = Field(
        60, ge=5, le=3600, description="The broker notices after 1.5 times this that we are gone."
    )
    timeout_s: float = Field(
        10.0, gt=0, le=120, description="Longest time for one batch, in seconds."
    )
    gzip: bool = Field(True, description="Compress what is spooled.")

    @field_validator("topic", "status_topic")
    @classmethod
    def _is_topic(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if (fault := pattern_fault(value)) is not None:
            raise ValueError(fault)
        if set("+#") & set(value) or value.startswith("$") or not value.isprintable():
            raise ValueError(f"'{value}': a topic that is published to holds no '+', '#' or "
                             "control characters and does not begin with '$'")  # fmt: skip
        return value

    @model_validator(mode="after")
    def _fits(self) -> MqttConfig:
        one_of(self, "password_file", "password_credential")
        if (self.password_file or self.password_credential) and self.user is None:
            raise ValueError("a password needs a `user`")
        check_certificates(self)
        if self.status_topic is not None and filled(self.status_topic, "").count("{"):
            raise ValueError(f"status_topic '{self.status_topic}' may hold only {{gateway}}")
        return self
