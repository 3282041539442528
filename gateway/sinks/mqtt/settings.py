"""Settings of the sink `mqtt`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

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
    password_file: Path | None = Field(
        None, strict=False, description="File that holds the password; only its owner may read it."
    )
    password_credential: str | None = Field(
        None, description="Or: name of the systemd credential that holds the password."
    )
    tls: bool = Field(False, description="Encrypt, and verify the broker's certificate and name.")
    ca_file: Path | None = Field(
        None, strict=False, description="Certificate authority; left out: the system's."
    )
    cert_file: Path | None = Field(
        None, strict=False, description="Our own certificate, where the broker asks for one."
    )
    key_file: Path | None = Field(None, strict=False, description="Its key, without a password.")
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
        if self.password_file is not None and self.password_credential is not None:
            raise ValueError("password_file and password_credential exclude each other; give one")
        if (self.password_file or self.password_credential) and self.user is None:
            raise ValueError("a password needs a `user`")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both or none")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError("certificates are of use only with `tls: true`")
        if self.status_topic is not None and filled(self.status_topic, "").count("{"):
            raise ValueError(f"status_topic '{self.status_topic}' may hold only {{gateway}}")
        return self
