"""A run's charts in a notebook, drawn anew while it is recorded.

`follow` looks at the store and says when to draw; `picture` draws; `words` is the line of numbers;
`screen` is where it is shown, a notebook's cell or a terminal. Reads the store alone.
"""
