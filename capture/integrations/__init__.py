"""One file for each training framework that the recorder attaches to by one line.

Each imports its own framework and none of the others; `attachment` is what they
share. Nothing else in capture imports any of them.
"""
