"""From a PyTorch model to statistics: hooks, kernels and the batches they fill.

`recorder` is the user's face, `batches` what the hooks talk to, `rows` the sums
of a batch, `kernels` how a tensor is read. Imports the store's write side, and
nothing of analysis.
"""
