"""Data, as rows and classes, and the loop that trains and records."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from benchmarks.onset.trainings import WORDS, Training
from sklearn.datasets import load_digits
from torch import nn

import actrace

Data = tuple[torch.Tensor, torch.Tensor]
FILES = ("mnist.npz", "cifar10.npz", "movie_reviews_pos.txt", "movie_reviews_neg.txt")


def load(name: str, folder: Path) -> Data:
    """Return inputs, each a row, and classes of one data set, shuffled."""
    if name == "digits":
        x, y = load_digits(return_X_y=True)
        x = x / 16
    elif name == "reviews":
        x, y = reviews(folder)
    else:
        file = folder / {"mnist": "mnist.npz", "cifar": "cifar10.npz"}[name]
        with np.load(file) as arrays:
            x, y = arrays["x_train"][:15000] / 255, arrays["y_train"][:15000]
    order = np.random.default_rng(0).permutation(len(x))
    flat = x.reshape(len(x), -1)[order].astype(np.float32)
    if name == "cifar":
        # Channels first, and around zero.
        flat = flat.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2).reshape(len(x), -1) - 0.5
    return torch.tensor(flat), torch.tensor(np.ravel(y)[order].astype(np.int64))


def reviews(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return sentences as bags of the commonest words, and whether each is friendly."""
    texts, classes = [], []
    for label, which in enumerate(("neg", "pos")):
        lines = (folder / f"movie_reviews_{which}.txt").read_text(
            encoding="utf-8", errors="replace"
        )
        texts += [re.findall(r"[a-z']+", line.lower()) for line in lines.splitlines()]
        classes += [label] * (len(texts) - len(classes))
    common = Counter(word for text in texts for word in text).most_common(WORDS)
    place = {word: i for i, (word, _) in enumerate(common)}
    bags = np.zeros((len(texts), WORDS), dtype=np.float32)
    for row, text in zip(bags, texts, strict=True):
        row[[place[word] for word in text if word in place]] = 1
    return bags, np.array(classes)


def train(training: Training, data: Data, path: Path) -> None:
    """Train and record."""
    x, y = data
    x_valid, y_valid = x[-training.n_valid :], y[-training.n_valid :]
    x, y = x[: training.n_train], y[: training.n_train].clone()
    torch.manual_seed(1)
    wrong = torch.rand(len(y)) < training.wrong_labels
    y[wrong] = torch.randint(10, (int(wrong.sum()),))
    model = training.network()
    one_output = model[-1].out_features == 1
    loss_fn: nn.Module = nn.BCEWithLogitsLoss() if one_output else nn.CrossEntropyLoss()
    if one_output:
        y, y_valid = y.float()[:, None], y_valid.float()[:, None]
    optimizer: torch.optim.Optimizer
    if training.momentum:
        optimizer = torch.optim.SGD(
            model.parameters(), training.lr, momentum=0.9, weight_decay=training.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), training.lr, weight_decay=training.weight_decay
        )
    with actrace.record(model, path, criterion=loss_fn, overwrite=True):
        for _ in range(training.epochs):
            model.train()
            for batch in torch.randperm(len(x)).split(training.batch):
                seen = x[batch]
                if training.noise:
                    seen = seen + training.noise * torch.randn_like(seen)
                loss = loss_fn(model(seen), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for batch in torch.arange(len(x_valid)).split(250):
                    loss_fn(model(x_valid[batch]), y_valid[batch])
