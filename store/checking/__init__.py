"""Checking: whether a run is whole, and if not, what of it is damaged.

`examine` goes through a run, `pieces` reads its chunk files one inner chunk at a
time, `rules` holds what must be true of the numbers, `belonging` which files
belong to a run, and `report` what was found.
"""
