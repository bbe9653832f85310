"""fastai: one line in the Learner. Run: python examples/fastai_digits.py [RUN]."""

import sys

import torch
from fastai.basics import DataLoader, DataLoaders, Learner
from fastai.callback.schedule import fit_one_cycle  # noqa: F401  (it gives the Learner the method)
from fastai.metrics import accuracy
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import actrace

path = sys.argv[1] if len(sys.argv) > 1 else "runs/fastai"
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
dls = DataLoaders(
    DataLoader(TensorDataset(x[:1437], y[:1437]), bs=64, shuffle=True),
    DataLoader(TensorDataset(x[1437:], y[1437:]), bs=64),
    device="cpu",
)
learn = Learner(
    dls,
    nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10)),
    loss_func=nn.CrossEntropyLoss(),
    metrics=accuracy,
    cbs=actrace.FastaiCallback(path),  # the line
)
learn.fit_one_cycle(3, 1e-2)
print(actrace.twin_peaks(actrace.open(path)).understanding.to_dataframe())
