"""From the hub to one sink: batches, dead band, and delivery until it is stored."""

from gateway.writer.deliver import Backoff
from gateway.writer.writer import Writer, WriterConfig

__all__ = ["Backoff", "Writer", "WriterConfig"]
