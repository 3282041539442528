"""The schema's steps, one file each under `versions/`; only `gateway db` runs them."""
