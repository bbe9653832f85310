"""Buttons, fields and lists in the app's own style."""

from __future__ import annotations

from typing import Any

import panel as pn

from actrace.analysis.app.look import CONTROLS

__all__ = ["button", "choice", "field", "slider"]


def button(label: str, **options: Any) -> Any:
    """Return a button."""
    return pn.widgets.Button(label=label, stylesheets=[CONTROLS], **options)


def choice(label: str, **options: Any) -> Any:
    """Return a list to choose one of."""
    return pn.widgets.Select(label=label, stylesheets=[CONTROLS], **options)


def field(label: str, **options: Any) -> Any:
    """Return a field to write in."""
    return pn.widgets.TextInput(label=label, stylesheets=[CONTROLS], **options)


def slider(label: str, **options: Any) -> Any:
    """Return a slider over given values."""
    made = pn.widgets.DiscreteSlider(label=label, stylesheets=[CONTROLS], **options)

    def dress(*_: Any) -> None:
        # It is made of a text and a slider, another one whenever its values change.
        for inner in made.select(pn.widgets.IntSlider):
            inner.stylesheets = [CONTROLS]

    dress()
    made.param.watch(dress, "options")
    return made
