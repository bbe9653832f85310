"""The statistics of one tensor, in one pass, each way we know to compute them.

Everything that reads the numbers of an activation lives here, so that making it
faster, or computing it on another device, touches this folder alone. A kernel
gets a flat tensor in memory order with its shape as ``(samples, outer, units,
inner)`` and adds it to a `Slot`; calls merge. `Kernel.add` looks everything up at
each call; `Kernel.bind` does so once, after which a tensor is its address (`Plan`).
What is read of it, everything or every so-many-th block, a `Sampling` says.

The compiled kernel is `fused` (what Python sees), `plans` (the record of a plan),
`walk` (the compiled function), `blocks` and `bins` (its loops), `tables` and
`fields` (what both sides share). May import NumPy, torch, Numba and llvmlite.
"""
