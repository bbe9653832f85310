"""fastai's ActivationStats and actrace on one training: the same mean and spread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fastai.basics import SGD, DataLoader, DataLoaders, Learner
from fastai.callback.hook import ActivationStats
from torch import nn

import actrace


def test_mean_and_std_agree_layer_by_layer_and_batch_by_batch(tmp_path: Path) -> None:
    torch.manual_seed(3)
    x = torch.randn(96, 8)
    y = (x.sum(1) > 0).long()
    pairs = list(zip(x, y, strict=True))
    loader = DataLoader(pairs, bs=16, shuffle=False, num_workers=0, device="cpu")
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 2))
    stats = ActivationStats(modules=list(model), with_hist=True)
    learner = Learner(
        DataLoaders(loader, loader, device="cpu"),
        model,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=SGD,
        lr=0.1,
        model_dir=tmp_path,
    )
    with actrace.record(model, tmp_path / "run"):
        learner.fit(2, cbs=[stats])
    train = actrace.open(tmp_path / "run")["train"].to_dataset().load()
    assert train.sizes["batch"] == len(stats.stats) == 12
    for at, layer in enumerate("012"):
        ours = train.sel(layer=layer)
        mean, std, near_zero = (np.array(list(part)) for part in stats.layer_stats(at))
        np.testing.assert_allclose(ours["mean"], mean, rtol=1e-5, atol=1e-7)
        # torch.std divides by one less than the number, the store by the number.
        n = ours["elements"].values
        np.testing.assert_allclose(ours["std"] * np.sqrt(n / (n - 1)), std, rtol=1e-5)
        # Its "near zero" is at or below 0.05, negative numbers included.
        assert ((ours["zero"] / n).values <= near_zero + 1e-7).all()
