"""Runs on disk: the schema, the bin axis, the writer and the reader of one Zarr store."""
