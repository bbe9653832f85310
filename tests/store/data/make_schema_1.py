"""Make the run of schema 1 that must open for ever, and what it must hold.

Usage: python -m tests.store.data.make_schema_1

Run once, when schema 1 was new, and not again: the files beside this one are
evidence, and a change of them hides what they are to show.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

import actrace
from actrace.store.document import dumps

HERE = Path(__file__).parent
PACKED, EXPECTED = HERE / "schema-1.tar.xz", HERE / "schema-1.json"


class Model(nn.Module):
    """A classifier with a layer that is registered and never called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(2 * 4 * 4, 3, bias=False)
        self.aside = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the three classes' outputs of images, shape (samples, 1, 6, 6)."""
        outputs: torch.Tensor = self.fc(self.relu(self.conv(x)).flatten(1))
        return outputs


def record(path: Path) -> None:
    """Record a tiny training with labels, units, gradients, a resume and logged numbers."""
    torch.manual_seed(1)
    model, loss_fn = Model(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for epochs in ((0, 1), (2, 3)):
        with actrace.record(
            model,
            path,
            criterion=loss_fn,
            classes=["cat", "dog", "Gans\x1b[31m<b>"],
            axis=actrace.Asinh(-100, 100, 24, 0.1),
            config={"lr": 0.5, "nested": {"depth": 2}, "text": "größer"},
            tags=["schema-1", "kept"],
            gradients="outputs",
            kernel="reference",
            resume=True,
        ) as recorder:
            for epoch in epochs:
                recorder.epoch(epoch)
                for phase, n in (("train", 9), ("valid", 2)):
                    for _ in range(n):
                        x, y = torch.randn(6, 1, 6, 6), torch.randint(0, 3, (6,))
                        with recorder.phase(phase):
                            loss = loss_fn(model(x), y)
                            if phase == "train":
                                optimizer.zero_grad()
                                loss.backward()
                                optimizer.step()
                                recorder.log(lr=0.5 / (epoch + 1))


def anonymous(path: Path) -> None:
    """Take out of a run where it was made."""
    root = path / "zarr.json"
    document = json.loads(root.read_text(encoding="utf-8"))
    document["attributes"] |= {"host": "host", "git_commit": None}
    root.write_bytes(dumps(document))


def nameless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out of an archive's member whose it was and when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def digest(values: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of an array's values: little-endian bytes, texts by newlines."""
    if values.dtype.kind in "UOT":
        data = "\n".join(map(str, values.ravel())).encode()
    else:
        data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()
    return hashlib.sha256(data).hexdigest()


def contents(tree: xr.DataTree) -> dict[str, Any]:
    """Return path -> dims, dtype, shape and digest of every variable, and all attributes."""
    found: dict[str, Any] = {}
    for node in tree.subtree:
        path = "/".join(part for part in node.relative_to(tree).split("/") if part != ".")
        dataset = node.to_dataset(inherit=False)
        found[path] = {
            "attributes": dict(dataset.attrs),
            "variables": {
                str(name): {
                    "dims": list(map(str, variable.dims)),
                    "dtype": "string" if variable.dtype.kind in "UOT" else variable.dtype.name,
                    "shape": list(variable.shape),
                    "sha256": digest(variable.values),
                }
                for name, variable in sorted(dataset.variables.items(), key=lambda i: str(i[0]))
            },
        }
    return found


def main() -> None:
    """Record, pack and write down what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        record(path)
        anonymous(path)
        actrace.note_run(path, "made when schema 1 was new")
        with tarfile.open(PACKED, "w:xz") as archive:
            archive.add(path, "run.zarr", filter=nameless)
        with actrace.open(path) as run:
            EXPECTED.write_text(json.dumps(described(run), indent=1, sort_keys=True) + "\n")


def described(run: actrace.Run) -> dict[str, Any]:
    """Return all that the test holds the run to."""
    train = actrace.twin_peaks(run).sel(phase="train", epoch=3)
    return {
        "contents": contents(run),
        "first_counts": run["train/count"].values[:, :, 0].tolist(),
        "train_loss": run["train/loss"].values.tolist(),
        "understanding": float(train["understanding"]),
    }


if __name__ == "__main__":
    main()
