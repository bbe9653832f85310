"""Several runs beside each other: where, when and by how much they part.

`compare` is the way in; each other file is one step of it.
"""
