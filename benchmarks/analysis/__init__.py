"""What a full analysis of a long run takes, beside plain zarr reading the same chunks."""
