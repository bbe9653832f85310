"""Writing a run straight into a bucket: its objects, its lock, its place."""
