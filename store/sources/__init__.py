"""Where a run's files can lie: a directory, a zip file, a bucket of an object store."""
