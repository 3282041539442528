"""One folder per driver; of the core it sees the driver contract and what serves it."""
