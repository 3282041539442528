"""InfluxDB 2 and what speaks its write API."""

from __future__ import annotations

import http.client
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import urllib3
from pydantic import Field, field_validator, model_validator

from gateway.errors import GatewayError, Rejected, SinkUnavailable
from gateway.logs import hide
from gateway.secretfiles import one_of
from gateway.sinks import Payload, RemoteSink, Selected, SinkConfig
from gateway.sinks.influxdb import answers
from gateway.sinks.influxdb import lineprotocol as lp
from gateway.sinks.influxdb.bounded_http import Transport
from gateway.sinks.influxdb.narrow import NarrowEncoder
from gateway.sinks.influxdb.refusals import NO_VERDICT, Refusals, read
from gateway.sinks.influxdb.wide import LineEncoder
from gateway.sinks.influxdb.writeapi import WriteApi
from gateway.sinks.packing import compress
from gateway.sinks.payload import Described, plain_body

log = logging.getLogger(__name__)

GZIP = "lp+gzip"
PLAIN = "lp"


class InfluxConfig(SinkConfig):
    """A sink of type ``influxdb``."""

    url: str = Field(description="Address of the server, e.g. http://localhost:8086.")
    org: str = Field("", description="Organisation; ignored by servers that have none.")
    bucket: str = Field(min_length=1, description="Bucket that the rows go to.")
    token_file: Path | None = Field(
        None, strict=False, description="File that holds the API token; only its owner may read it."
    )
    token_credential: str | None = Field(
        None, description="Or: name of the systemd credential that holds the token."
    )
    layout: Literal["wide", "narrow"] = Field(
        "wide", description="wide: a column (field) a tag. narrow: a line a tag, label `tag`."
    )
    max_columns: int = Field(
        200, ge=0, description="wide: tables with more columns are cut in several; 0: never cut."
    )
    timeout_s: float = Field(
        10.0, gt=0, le=120, description="Longest wait for one request, in seconds."
    )
    gzip: bool = Field(True, description="Compress what is sent and spooled.")

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parsed = urllib3.util.parse_url(value)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"'{value}' is no address; expected e.g. http://localhost:8086")
        if parsed.auth or parsed.query or parsed.fragment:
            raise ValueError("the address holds more than a server and a path; expected no more")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_token(self) -> InfluxConfig:
        one_of(self, "token_file", "token_credential")
        return self


class InfluxSink(RemoteSink):
    """Writes line protocol to ``/api/v2/write``. Used by two threads: one encodes, one delivers."""

    config_class = InfluxConfig
    config: InfluxConfig

    def __init__(self, name: str, config: InfluxConfig, state_dir: Path) -> None:
        super().__init__(name, config, state_dir)
        narrow = config.layout == "narrow"
        self._refusals = Refusals(path=state_dir / f"{name}.refused.json")
        wide = LineEncoder(config.max_columns, self._refusals)
        self._encoder = NarrowEncoder() if narrow else wide
        self._api: WriteApi | None = None
        self._transport = Transport()
        self._closed = False
        self._warned = False

    # -- encoding

    def encode(self, rows: Sequence[Selected]) -> list[Payload]:
        """The rows as line protocol, in payloads of about 4 MB of text."""
        self._refusals.load()
        packed = self.config.gzip
        return [
            Payload(compress(text) if packed else text, GZIP if packed else PLAIN, count, values)
            for text, count, values in self._encoder.encode(rows)
            if text
        ]

    def start_over(self) -> None:
        """Write the quality of every table with its next row, also where all is GOOD."""
        self._encoder.start_over()

    def pieces(self, body: bytes, format: str) -> list[bytes]:
        """The lines without the columns that the server is known to refuse, and those apart."""
        self._refusals.load()
        if format not in (GZIP, PLAIN) or not self._refusals.known:
            return [body]
        return self._packed(body, format, self._refusals.apart(plain_body(body, format)))

    def split(self, body: bytes, format: str, words: str = "") -> list[bytes]:
        """The lines, or the columns of the only line, in two parts."""
        if format not in (GZIP, PLAIN):
            return [body]
        return self._packed(body, format, self._refusals.divide(plain_body(body, format), words))

    @staticmethod
    def _packed(body: bytes, format: str, texts: list[bytes]) -> list[bytes]:
        if len(texts) == 1:
            return [body]
        return texts if format == PLAIN else [compress(text) for text in texts]

    def describe_each(self, body: bytes, format: str) -> list[tuple[bytes, Described]]:
        """What each line of a payload is about."""
        if format not in (GZIP, PLAIN):
            return []
        lines = plain_body(body, format).splitlines(keepends=True)
        return [(line, self.describe(line, PLAIN)) for line in lines]

    def describe(self, body: bytes, format: str) -> Described:
        """What a payload of one line is about."""
        line = plain_body(body, format)
        measurement, labels, time_ns = lp.identity(line)
        part = labels.get("module") or labels.get("channel")
        table = f"{measurement}.{part}" if part else measurement
        parsed = lp.parse(line)
        column = None
        if parsed is not None and len(parsed.fields) == 1:
            column = lp.plain(parsed.fields[0][0])
            if self.config.layout == "narrow" and column != "_quality":
                column = labels.get("tag", column)
        values = lp.count_fields(line)
        return Described(labels.get("device", "?"), table, time_ns, values, column)

    def vouches(self, words: str) -> bool:
        """Whether the words name a column, the time, or how many lines were dropped."""
        return read(words) != NO_VERDICT

    # -- delivering

    def deliver(self, body: bytes, format: str) -> None:
        """Send one payload; returning means that the server answered 204."""
        if format not in (GZIP, PLAIN):
            raise Rejected(f"a payload of format {format} is not for InfluxDB")
        fault = self._post(body, format)
        if isinstance(fault, Rejected):
            self._refusals.refused(plain_body(body, format), str(fault))
            self._refusals.save()
        if fault is not None:
            raise fault
        self._refusals.stored(lambda: plain_body(body, format))
        self._refusals.save()

    def check(self) -> bool:
        """Write a comment, of which nothing is stored, with the token and to the bucket."""
        fault = self._post(b"# is the bucket there, and may we write to it?\n", PLAIN)
        # token and bucket were looked at before: what InfluxDB 2 may miss then is only points
        if fault is not None and "requires points" not in str(fault):
            raise fault
        return True

    def _post(self, body: bytes, format: str) -> GatewayError | None:
        """What the answer means; None: stored. SinkUnavailable where there is none."""
        try:
            answer = self._connected().post(body, gzipped=format == GZIP)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise answers.silence(error, self.config.timeout_s) from error
        except ValueError as error:  # a token or address that no request can be made of
            self._forget()
            raise SinkUnavailable(f"no request can be made: {error}", operator=True) from error
        if answer.status == 401:
            self._forget()  # the token may have been changed: read it again
        return answers.refusal(answer)

    def _connected(self) -> WriteApi:
        if self._closed:
            raise SinkUnavailable("closed")
        if self._api is None:
            config = self.config
            self._api = WriteApi(
                config.url,
                config.org,
                config.bucket,
                self._token(),
                config.timeout_s,
                self._transport,
            )
        return self._api

    def _token(self) -> str:
        path = self.config.token_file
        if self.config.token_credential is not None:
            folder = os.environ.get("CREDENTIALS_DIRECTORY")
            if not folder:
                text = "token_credential needs systemd's $CREDENTIALS_DIRECTORY, which is not set"
                raise SinkUnavailable(text, operator=True)
            path = Path(folder) / self.config.token_credential
        if path is None:
            return ""
        try:
            if path.stat().st_mode & 0o004 and not self._warned:
                self._warned = True
                text = "sink %s: everybody on this machine can read the token in %s"
                log.warning(text, self.name, path, extra={"sink": self.name})
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SinkUnavailable(f"no token: {error}", operator=True) from error
        if not token.isascii() or not token.isprintable() or not token:
            raise SinkUnavailable(f"{path} holds no token", operator=True)
        hide(token)
        return token

    def _forget(self) -> None:
        api, self._api = self._api, None
        if api is not None:
            api.close()

    def close(self) -> None:
        """End a request that is under way and close the connection."""
        if not self._closed:
            self._refusals.save(at_once=True)
        self._closed = True
        self._transport.interrupt()
        self._forget()

    def status(self) -> dict[str, Any]:
        """Where it writes to, and values that line protocol could not take as they were."""
        return {
            "url": self.config.url,
            "bucket": self.config.bucket,
            "layout": self.config.layout,
            "values_not_finite": self._encoder.not_finite,
            "values_as_text": self._encoder.as_text,
            "columns_refused": self._refusals.names(),
        }
