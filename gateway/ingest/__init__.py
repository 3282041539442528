"""Rows from other programs, by HTTP and gRPC: checked, published, and told when they are on disk.

What arrives becomes rows like any other. Its quality is what its sender says; its tables carry the
label ``via: ingest``, which no sender can leave out (docs/decisions/0012-ingest.md).
"""
