"""The statistics of one tensor, in one pass, each way we know to compute them.

Everything that reads the numbers of an activation lives here, so that making it
faster, or computing it on another device, touches this folder alone. A kernel
gets a flat tensor in memory order with its shape as ``(samples, outer, units,
inner)`` and adds it to a `Slot`; calls merge. May import NumPy, torch and Numba.
"""
