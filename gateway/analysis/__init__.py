"""From blocks and rows to features: windows, averages, operating states, aggregates, capture."""
