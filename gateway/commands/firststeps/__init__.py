"""`gateway init`: from an address and a probe to a configuration that passes the check."""
