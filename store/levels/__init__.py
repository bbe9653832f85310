"""Levels: a phase merged over 16, 64, 256, ... batches, for looking from afar."""
