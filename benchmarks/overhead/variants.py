"""The ways to watch a training: nobody, empty hooks, actrace, and the peers.

A variant hangs itself on a model and comes off again. What it needs is imported
when it is attached, so that one that is not installed is a row that says so, and
the time of its import is part of its start. May import torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from benchmarks.overhead import peers
from benchmarks.overhead.naming import matching
from benchmarks.overhead.watching import NotHereError, Place, Watch, hooked
from torch import Tensor, nn

__all__ = ["BARE", "VARIANTS", "Variant", "compiled", "find_variants", "recorded"]

Attach = Callable[[nn.Module, nn.Module, Place], AbstractContextManager[Watch]]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to watch a training.

    Attributes
    ----------
    name : str
        What the command line calls it.
    title : str
        What the table calls it.
    attach : callable
        ``(model, criterion, place) -> context manager of a Watch``.
    keeps : str
        What it keeps of each layer and batch, in a word or two.
    needs : tuple of str
        Distributions it needs besides actrace's own, for the list of versions.
    peer : bool
        It keeps whole histograms of outputs, so that actrace is held against it.
    compile : bool
        The model is compiled before it is watched.
    """

    name: str
    title: str
    attach: Attach
    keeps: str = ""
    needs: tuple[str, ...] = field(default=())
    peer: bool = False
    compile: bool = False


@contextmanager
def bare(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Watch nothing."""
    yield Watch()


@contextmanager
def empty_hooks(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Call an empty forward hook on every leaf module: the least that hooks can cost."""

    def hook(module: nn.Module, args: object, output: object) -> None:
        return None

    with hooked(model, lambda _: hook):
        yield Watch()


@contextmanager
def histc_hooks(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Keep what the colorful dimension's original keeps: mean, std, `torch.histc`.

    Source: https://forums.fast.ai/t/the-colorful-dimension/42908 (histc of 512 bins
    here instead of 40, as many as actrace has), in memory, every batch.
    """
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(module: nn.Module, args: object, output: Tensor) -> None:
        x = output.detach()
        kept.append((x.mean(), x.std(), torch.histc(x, 512, -10, 10)))

    with hooked(model, lambda _: hook):
        yield Watch()


class _Recording(Watch):
    """actrace at work."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder

    def catch_up(self) -> None:
        # The writer's thread takes many batches at once; without this, most blocks of steps
        # would have none of its work. A commit stays a matter of the clock.
        self._recorder._session.outbox.settle()

    def waited_seconds(self) -> float:
        waited: float = self._recorder.report().waited_seconds
        return waited

    def remarks(self) -> tuple[str, ...]:
        report = self._recorder.report()
        lost = {phase: n for phase, n in report.lost.items() if n}
        said = (f"lost batches: {lost}" if lost else "", getattr(report, "share", None))
        return (*report.remarks, *(words for words in said if words))


@contextmanager
def recorded(
    model: nn.Module,
    loss_fn: nn.Module,
    place: Place,
    *,
    settings: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
) -> Iterator[Watch]:
    """Record with actrace, as its README says: labels and loss by the criterion.

    Parameters
    ----------
    settings : mapping or callable
        Of `actrace.record`; a callable is asked for them when actrace is imported.
    """
    import actrace

    chosen = settings() if callable(settings) else settings
    unknown = set(chosen) - set(inspect.signature(actrace.record).parameters)
    if unknown:
        raise NotHereError(f"not in this version: {', '.join(sorted(unknown))}=")
    # Variants run in turn, and each beside its bare twin: it is to commit every ten seconds
    # of its own training.
    chosen = {"flush_seconds": 20.0 * place.turns, **chosen}
    with actrace.record(model, place.folder / "run", criterion=loss_fn, **chosen) as recorder:
        yield _Recording(recorder)


#: Beside its own twin: what chance does.
BARE = Variant("bare", "bare, against itself", bare)

#: In the order of the tables.
VARIANTS: tuple[Variant, ...] = (
    BARE,
    Variant("empty-hooks", "empty hooks on every leaf", empty_hooks),
    Variant("actrace", "actrace, exact", partial(recorded, settings={}), "histogram, moments"),
    Variant(
        "actrace-histogram",
        'actrace, `sample="histogram"`',
        partial(recorded, settings={"sample": "histogram"}),
        "histogram (sampled), moments",
    ),
    Variant(
        "actrace-all",
        'actrace, `sample="all"`',
        partial(recorded, settings={"sample": "all"}),
        "histogram, moments (sampled)",
    ),
    Variant(
        "actrace-auto",
        'actrace, `sample="auto"`',
        partial(recorded, settings={"sample": "auto"}),
        "as the cost allows",
    ),
    Variant(
        "actrace-thinned",
        'actrace, `schedule="auto"`',
        partial(recorded, settings={"schedule": "auto"}),
        "histogram, moments, of as many batches as the cost allows",
    ),
    Variant(
        "actrace-auto-thinned",
        'actrace, `sample="auto", schedule="auto"`',
        partial(recorded, settings={"sample": "auto", "schedule": "auto"}),
        "as the cost allows",
    ),
    Variant(
        "histc",
        "mean, std, `torch.histc` hooks",
        histc_hooks,
        "histogram, mean, std",
        peer=True,
    ),
    Variant(
        "fastai",
        "fastai ActivationStats",
        peers.fastai_stats,
        "histogram, mean, std",
        ("fastai",),
        peer=True,
    ),
    Variant("monitorch", "monitorch", peers.monitorch_lenses, "rates, norm", ("monitorch",)),
    Variant(
        "tensorboard",
        "TensorBoard add_histogram",
        peers.tensorboard_histograms,
        "histogram",
        ("tensorboard",),
        peer=True,
    ),
    Variant(
        "wandb",
        "W&B offline, wandb.Histogram",
        peers.wandb_histograms,
        "histogram",
        ("wandb",),
        peer=True,
    ),
    Variant(
        "wandb-watch",
        "W&B offline, wandb.watch",
        peers.wandb_watch,
        "histograms of gradients and weights",
        ("wandb",),
    ),
    Variant(
        "torchexplorer",
        "torchexplorer",
        peers.torchexplorer_watch,
        "histogram of 1,000 elements",
        ("torchexplorer", "wandb"),
    ),
)


def compiled(variant: Variant) -> Variant:
    """Return the variant with the model compiled before it is watched."""
    return replace(
        variant,
        name=f"{variant.name}-compiled",
        title=f"compiled: {variant.title}",
        compile=True,
    )


def find_variants(patterns: Iterable[str]) -> tuple[Variant, ...]:
    """Return the variants whose names match a pattern, the bare step always first.

    Raises
    ------
    ValueError
        A pattern matches none.
    """
    chosen = matching("variant", VARIANTS, patterns)
    return (BARE, *(variant for variant in chosen if variant is not BARE))
