"""The colorful dimension: one layer large, many as tiles, or by class."""
