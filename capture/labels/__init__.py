"""Labels: the model's output, the targets, and what both say by class and unit.

`joining` takes them as they come, `targets` knows what they mean, `group` and
`sums` count them.
"""
