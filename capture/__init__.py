"""torch -> statistics: a recorder on a model, and what it does in every batch.

`record` builds a recording, `recorder` is what the user holds, `attaching` hangs
the `hooks` on the model, `batches` is what they talk to. `layer_table` holds the
sums of the batch in progress and `kernels/` fills them; `model/` knows layers
and names, `labels/` output and targets, `gradients/` what the backward leaves.
`integrations/` attach a recorder to training frameworks, one file each.
"""
