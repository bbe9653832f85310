"""Lightning: one line in the Trainer. Run: python examples/lightning_digits.py [RUN]."""

import sys

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import actrace


class Digits(lightning.LightningModule):
    """A small classifier, written as Lightning's users write theirs."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
        self.loss_fn = nn.CrossEntropyLoss()

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        return self.loss_fn(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        """Log accuracy; return the loss."""
        logits = self.net(batch[0])
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())
        return self.loss_fn(logits, batch[1])

    def configure_optimizers(self):
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), 1e-2)


path = sys.argv[1] if len(sys.argv) > 1 else "runs/lightning"
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
train = DataLoader(TensorDataset(x[:1437], y[:1437]), batch_size=64, shuffle=True)
valid = DataLoader(TensorDataset(x[1437:], y[1437:]), batch_size=64)

trainer = lightning.Trainer(
    max_epochs=3,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    callbacks=[actrace.LightningCallback(path)],  # the line
)
trainer.fit(Digits(), train, valid)
print(actrace.twin_peaks(actrace.open(path)).understanding.to_dataframe())
