"""The tables that several subcommands print, made from an opened run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actrace.cli.text import fraction, number, table

if TYPE_CHECKING:
    from rich.table import Table

    from actrace.store.run import Run

__all__ = ["epoch_table", "layer_table"]


def layer_table(run: Run) -> Table:
    """Return a table of a run's layers: order, name, type, shape, units."""
    columns = [
        ("order", "right"),
        ("layer", "left"),
        ("type", "left"),
        ("shape", "left"),
        ("units", "right"),
    ]
    rows = [
        (str(order) if order >= 0 else "-", name, kind, shape or "-", str(units or "-"))
        for name, kind, shape, order, units in zip(
            *(
                run.dataset[variable].values
                for variable in ("layer", "layer_type", "layer_shape", "layer_order", "layer_units")
            ),
            strict=True,
        )
    ]
    return table(columns, rows)


def epoch_table(run: Run, title: str = "") -> Table:
    """Return a run's answers by epoch, as `actrace.analysis.table` joins them."""
    from actrace.analysis.table import epoch_table as answers

    columns = [
        ("epoch", "right"),
        ("train loss", "right"),
        ("valid loss", "right"),
        ("train acc.", "right"),
        ("valid acc.", "right"),
        ("understanding", "right"),
        ("d'", "right"),
        ("overlap", "right"),
        ("divergence", "right"),
        ("lowest activation", "left"),
        ("highest death", "left"),
    ]
    rows = [
        (
            str(row.epoch),
            number(row.train_loss, 3),
            number(row.valid_loss, 3),
            fraction(row.train_accuracy),
            fraction(row.valid_accuracy),
            number(row.understanding),
            number(row.d_prime),
            number(row.overlap, 3),
            number(row.divergence, 3),
            f"{fraction(row.lowest_activation_rate)} {row.lowest_activation_layer}",
            f"{fraction(row.highest_death_rate)} {row.highest_death_layer}",
        )
        for row in answers(run)
    ]
    return table(columns, rows, title=title)
