"""Repair: a new run of all that is whole in a damaged one, with what is lost marked.

`mend` is what users call, `rebuild` writes the arrays that grow, `standing` those
that stand still, `beside` has a run written beside its place, `exchange` puts it
there.
"""
