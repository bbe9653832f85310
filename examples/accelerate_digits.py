"""Accelerate: one line after prepare. Run: python examples/accelerate_digits.py [RUN]."""

import sys

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import actrace

path = sys.argv[1] if len(sys.argv) > 1 else "runs/accelerate"
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)

accelerator = Accelerator(cpu=True)
model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), 1e-2)
loader = DataLoader(TensorDataset(x[:1437], y[:1437]), batch_size=64, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
actrace.record_accelerate(accelerator, model, path, criterion=loss_fn)  # the line

for _ in range(3):
    model.train()
    for inputs, targets in loader:
        loss = loss_fn(model(inputs), targets)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(x[1437:])
        loss_fn(logits, y[1437:])
    accelerator.log({"val/acc": (logits.argmax(1) == y[1437:]).float().mean()})

accelerator.end_training()
print(actrace.twin_peaks(actrace.open(path)).understanding.to_dataframe())
