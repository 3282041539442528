"""The HTTP app: status, metrics and live values on a Unix socket and, where configured, on TCP.

Light on purpose: `gateway.config` and the CLI import settings and client without the web stack.
"""
