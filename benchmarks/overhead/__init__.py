"""What recording costs beside its peers: interleaved runs, ratios to the bare step.

Usage: python benchmarks/overhead [--models PATTERN ...] [--variants PATTERN ...] [--quick]

`models` are what is trained, `variants` the ways to watch it (nobody, actrace, its
peers), `trial` one variant on one model in a process of its own, `measure` runs the
trials in turn and `table` says it in Markdown. `steady` holds the writer to a steady
pace. Nothing here is part of the package.
"""
