"""A run copied to another place, whole and checked: a directory, a zip, a bucket."""
