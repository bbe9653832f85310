"""Gradients: which are recorded, when each is read, and what is divided out of it.

`parameters` reads those of the model's parameters, `outputs` those of its
layers' outputs; `settings` turns on what was asked for.
"""
