"""Peers warn about themselves, also as they are imported; none of it is ours."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # fastai scripts functions and reads distutils while it is imported.
    warnings.simplefilter("ignore")
    import fastai.basics
    import fastai.callback.hook  # noqa: F401
