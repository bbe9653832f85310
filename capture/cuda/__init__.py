"""Recording tensors on a GPU: counted there, into a ring that is fetched now and then.

A batch's statistics are added up on the device, in a row of the `ring`, by one
launch for each activation (`fused`, or `plain` torch operations), and nothing
waits for them. Rows come to the host many at a time, and only once a copy is
known to have ended are they read. May import torch.
"""
