"""The peers, each in its documented use, on every leaf module, every batch.

They are installed by ``pip install --requirement requirements/bench.txt
--constraint requirements/constraints.txt`` into an environment that has the
checkout's own requirements; what is missing is said in its row. torchexplorer
calls ``dot``, which is graphviz's (``apt install graphviz``). May import torch, and
a peer where it is used.
"""

from __future__ import annotations

import os
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.overhead.watching import Place, Watch, hooked, leaf_modules
from torch import Tensor, nn

__all__ = [
    "fastai_stats",
    "monitorch_lenses",
    "tensorboard_histograms",
    "torchexplorer_watch",
    "wandb_histograms",
    "wandb_watch",
]

#: Steps after which a variant that must be told of epochs is told of one.
EPOCH = 50


class _Fastai(Watch):
    def __init__(self, callback: Any) -> None:
        self._callback = callback

    def after_step(self, loss: Tensor) -> None:
        self._callback.after_batch()


@contextmanager
def fastai_stats(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Hang fastai's ActivationStats(with_hist=True) on the model.

    Source: https://docs.fast.ai/callback.hook.html#activationstats. The callback is
    driven by our loop as its Learner drives it, so that the Learner's own loop is
    not counted against it. By default it leaves out modules without parameters;
    all leaves are given here.
    """
    with warnings.catch_warnings():
        # fastai scripts functions and reads distutils while it is imported.
        warnings.simplefilter("ignore")
        from fastai.basics import DataLoader, DataLoaders, Learner
        from fastai.callback.hook import ActivationStats

    loader = DataLoader([(0.0, 0)], bs=1, num_workers=0, device="cpu")
    callback = ActivationStats(with_hist=True, modules=[m for _, m in leaf_modules(model)])
    learner = Learner(
        DataLoaders(loader, loader, device="cpu"),
        model,
        loss_func=loss_fn,
        cbs=callback,
        model_dir=place.folder,
    )
    learner.training = True
    callback.before_fit()
    yield _Fastai(callback)
    callback.after_fit()


class _Monitorch(Watch):
    def __init__(self, inspector: Any) -> None:
        self._inspector = inspector
        self._steps = 0

    def after_step(self, loss: Tensor) -> None:
        self._steps += 1
        if self._steps % EPOCH == 0:
            self._inspector.tick_epoch()


@contextmanager
def monitorch_lenses(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Watch activation rate, death rate and norm of every leaf's output by monitorch.

    Source: https://monitorch.readthedocs.io/en/latest/. It records no histograms. An
    epoch is 50 steps; plots go to matplotlib, which draws when it is shown.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from monitorch.inspector import PyTorchInspector
    from monitorch.lens import OutputActivation, OutputNorm

    leaves = [m for _, m in leaf_modules(model)]
    types = tuple({type(m) for m in leaves})
    # In a transformer the units are the last dimension.
    last = any(isinstance(m, nn.LayerNorm) for m in leaves)
    inspector = PyTorchInspector(
        lenses=[OutputActivation(include=types, channel_last=last), OutputNorm(include=types)],
        module=model,
        visualizer="matplotlib",
    )
    yield _Monitorch(inspector)
    inspector.detach()


class _Counter(Watch):
    def __init__(self) -> None:
        self.step = 0

    def after_step(self, loss: Tensor) -> None:
        self.step += 1


@contextmanager
def tensorboard_histograms(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Write each output by SummaryWriter.add_histogram, with its default bins.

    Source: https://docs.pytorch.org/docs/stable/tensorboard.html
    (add_histogram(tag, values, global_step)).
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(place.folder / "tensorboard"))
    watch = _Counter()

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            writer.add_histogram(name, output, watch.step)

        return hook

    with hooked(model, hook_of):
        yield watch
    writer.close()


@contextmanager
def _wandb_run(folder: Path) -> Iterator[Any]:
    """Give an offline run that lives in `folder` alone and prints nothing."""
    places = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
    for place in places:
        os.environ[place] = str(folder / place.lower())
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
    import wandb

    run = wandb.init(project="overhead", dir=str(folder), mode="offline")
    yield run
    run.finish()


class _Wandb(Watch):
    def __init__(self, run: Any) -> None:
        self.outputs: dict[str, Any] = {}
        self._run = run

    def after_step(self, loss: Tensor) -> None:
        self._run.log({"loss": loss.item(), **self.outputs})
        self.outputs.clear()


@contextmanager
def wandb_histograms(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Log a wandb.Histogram of every output and the loss, once a step, offline.

    Source: https://docs.wandb.ai/ref/python/data-types/histogram (64 bins by
    default). W&B has no hook of its own for outputs.
    """
    with _wandb_run(place.folder) as run:
        import wandb

        watch = _Wandb(run)

        def hook_of(name: str) -> Any:
            def hook(module: nn.Module, args: object, output: Tensor) -> None:
                watch.outputs[name] = wandb.Histogram(output.detach().cpu().numpy())

            return hook

        with hooked(model, hook_of):
            yield watch


@contextmanager
def wandb_watch(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Let wandb.watch log gradients and parameters each step, offline: no outputs.

    Source: https://docs.wandb.ai/ref/python/watch, with log_freq=1 for every batch
    (its default is 1,000).
    """
    with _wandb_run(place.folder) as run:
        run.watch(model, log="all", log_freq=1)
        yield _Wandb(run)
        run.unwatch(model)


@contextmanager
def torchexplorer_watch(model: nn.Module, loss_fn: nn.Module, place: Place) -> Iterator[Watch]:
    """Let torchexplorer.watch log inputs and outputs each step, to W&B offline.

    Source: https://github.com/spfrommer/torchexplorer#usage, with log_freq=1 and
    log=["io"]; it takes 1,000 random elements of a tensor. The graph is drawn once.
    """
    import torchexplorer

    # It wants 50,000 open files; no process may raise its own limit above the hard one.
    torchexplorer.setup(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    with _wandb_run(place.folder) as run:
        torchexplorer.watch(model, log=["io"], log_freq=1, disable_inplace=True, backend="wandb")
        yield _Wandb(run)
