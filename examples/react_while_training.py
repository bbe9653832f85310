"""A loop that reacts: where a layer dies, it begins again at a lower learning rate.

Run: python examples/react_while_training.py [RUN].
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

import actrace

path = sys.argv[1] if len(sys.argv) > 1 else "runs/react"
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
loss_fn = nn.CrossEntropyLoss()


def train(path: str, *, react: bool) -> float:
    """Train at a learning rate that is too high; return the accuracy."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
    group = optimizer.param_groups[0]
    with actrace.record(model, path, criterion=loss_fn, overwrite=True) as recorder:
        for _ in range(10):
            model.train()
            for batch in torch.randperm(1437).split(64):
                loss = loss_fn(model(x[batch]), y[batch])
                recorder.log(lr=group["lr"])
                optimizer.zero_grad()
                loss.backward()
                last = recorder.latest("3")  # the second ReLU, in this very batch
                if react and last is not None and last.death_rate > 0.5:
                    group["lr"] /= 3
                    for layer in (model[0], model[2], model[4]):
                        layer.reset_parameters()
                    print(
                        f"step {last.step}: {last.death_rate:.0%} of the units are dead; "
                        f"from the beginning, at a learning rate of {group['lr']:.3g}"
                    )
                    continue
                optimizer.step()
            model.eval()
            with torch.no_grad():
                outputs = model(x[1437:])
                loss_fn(outputs, y[1437:])
    return (outputs.argmax(1) == y[1437:]).float().mean().item()


blind = train(f"{path}-blind", react=False)
seeing = train(path, react=True)
print(f"accuracy without looking {blind:.1%}, with {seeing:.1%}")
print(actrace.twin_peaks(actrace.open(path)).understanding.to_dataframe())
