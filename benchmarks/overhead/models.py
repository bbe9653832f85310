"""What is trained: small networks on digits, ResNet-18, a GPT, all in plain torch.

Every task's data are made once and every step trains on the same batch, so a step
costs the same each time. May import torch; scikit-learn for the digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from benchmarks.overhead.naming import matching
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TASKS", "Gpt", "ResNet18", "Task", "TokenLoss", "find_tasks", "make_step"]


@dataclass(frozen=True, slots=True)
class Task:
    """A model and the batch it is trained on.

    Attributes
    ----------
    name : str
        What the command line calls it.
    title : str
        What the table calls it: the model and its sizes.
    build : callable
        Returns the model, its weights drawn from torch's random state.
    batch : callable
        Returns an input and its targets, the same ones each time.
    loss : callable
        Returns the criterion, a module.
    """

    name: str
    title: str
    build: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    loss: Callable[[], nn.Module] = nn.CrossEntropyLoss


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, https://arxiv.org/abs/1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU(inplace=True)
        self.down = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, half as wide where the stride is 2."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + (x if self.down is None else self.down(x)))


class ResNet18(nn.Module):
    """ResNet-18 as in He et al. 2016, table 1, with 10 classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks, width = [], 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [ResidualBlock(width, outputs, stride), ResidualBlock(outputs, outputs, 1)]
            width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (batch, classes)."""
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.average(self.blocks(x)).flatten(1))


class GptBlock(nn.Module):
    """Pre-norm attention and feed-forward, as in GPT-2 (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, shape (batch, length, width)."""
        batch, length, width = x.shape
        qkv = self.qkv(self.ln1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.fc2(self.act(self.fc1(self.ln2(x))))


class Gpt(nn.Module):
    """A GPT of 256 byte values."""

    def __init__(self, layers: int = 6, width: int = 256, heads: int = 4, length: int = 128):
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(*[GptBlock(width, heads) for _ in range(layers)])
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits, shape (batch, length, 256)."""
        return self.head(self.ln(self.blocks(self.embedding(tokens) + self.position)))


class TokenLoss(nn.Module):
    """Cross entropy over every token."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss, logits (batch, length, token), target (batch, length)."""
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())


class Mlp(nn.Module):
    """64-256-256-10 with ReLU.

    A class of its own and not an `nn.Sequential`: `Module.compile` compiles no frame
    of torch's own files, so it would leave that one as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (batch, 10)."""
        return self.layers(x)


class ConvNet(nn.Module):
    """Two convolutions of 32 and 64 channels with BatchNorm, for images of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 1, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 16, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (batch, 10)."""
        return self.layers(x)


def _digits(*shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    def batch() -> tuple[Tensor, Tensor]:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        x = torch.tensor(images[: shape[0]] / 16, dtype=torch.float32).reshape(shape)
        return x, torch.tensor(labels[: shape[0]])

    return batch


def _images(n: int, side: int) -> Callable[[], tuple[Tensor, Tensor]]:
    def batch() -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(n, 3, side, side, generator=generator)
        return x, torch.randint(10, (n,), generator=generator)

    return batch


def _tokens() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(256, (8, 129), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


#: In the order of the tables.
TASKS: tuple[Task, ...] = (
    Task("mlp", "MLP on digits, 64-256-256-10, batch 64", Mlp, _digits(64, 64)),
    Task(
        "convnet", "ConvNet on digits, 32 and 64 channels, batch 64", ConvNet, _digits(64, 1, 8, 8)
    ),
    Task("resnet18-64", "ResNet-18, 64 pixels, batch 32", ResNet18, _images(32, 64)),
    Task("resnet18-112", "ResNet-18, 112 pixels, batch 32", ResNet18, _images(32, 112)),
    Task("gpt6", "GPT, 6 layers of 256, 8 x 128 tokens", Gpt, _tokens, TokenLoss),
)


def find_tasks(patterns: Iterable[str]) -> tuple[Task, ...]:
    """Return the tasks whose names match a pattern, in the order of the tables.

    Raises
    ------
    ValueError
        A pattern matches none.
    """
    return matching("model", TASKS, patterns)


def make_step(task: Task, model: nn.Module, loss_fn: nn.Module) -> Callable[[], Tensor]:
    """Return a function that makes one training step and returns its loss, detached."""
    x, y = task.batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> Tensor:
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
