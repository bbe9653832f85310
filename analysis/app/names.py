"""What a run has: its layers, and those with units, and the parameters with gradients."""

from __future__ import annotations

from actrace.store.run import Run
from actrace.store.schema import GRADIENT_GROUP, UNIT_GROUP

__all__ = ["has_units", "layer_names", "parameter_names"]


def layer_names(run: Run) -> list[str]:
    """Return the names of a run's layers, none of a run that has not declared them."""
    if "layer" not in run.coords:
        return []
    return [str(name) for name in run.coords["layer"].to_numpy().tolist()]


def parameter_names(run: Run, phase: str) -> list[str]:
    """Return the names of the parameters whose gradients a phase has."""
    node = run.children[phase].children.get(GRADIENT_GROUP) if phase in run.children else None
    return [] if node is None else [str(name) for name in node["parameter"].to_numpy().tolist()]


def has_units(run: Run, phase: str, layer: str) -> bool:
    """Return whether the units of a layer were recorded in a phase."""
    node = run.children[phase].children.get(UNIT_GROUP) if phase in run.children else None
    names = layer_names(run)
    if node is None or layer not in names:
        return False
    return bool((node["unit_layer"].to_numpy() == names.index(layer)).any())
