"""Store and forward: what waits for a sink lies on disk, in a folder of segment files."""

from gateway.spool.spool import LOSS_TABLE, Spool, SpoolConfig, SpoolUnwritable

__all__ = ["LOSS_TABLE", "Spool", "SpoolConfig", "SpoolUnwritable"]
