"""ResNet-18 in plain torch, its stages named as in the paper. May import torch."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["STAGES", "ResNet18"]

#: The layers that the pictures of a ResNet-18 are made of, from the input to the output.
STAGES = ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "fc")


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016, https://arxiv.org/abs/1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, half as wide where the stride is 2."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(residual + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 as in He et al. 2016, table 1; 11.2 million weights.

    Parameters
    ----------
    channels : int
        Of the images: 1 or 3.
    classes : int
    width : int, default 64
        Channels of the first stage, as in the paper; half of them is a quarter of the work.
    """

    def __init__(self, channels: int = 1, classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2_x = self._stage(width, width, 1)
        self.conv3_x = self._stage(width, 2 * width, 2)
        self.conv4_x = self._stage(2 * width, 4 * width, 2)
        self.conv5_x = self._stage(4 * width, 8 * width, 2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            ResidualBlock(inputs, outputs, stride), ResidualBlock(outputs, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (sample, class)."""
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        return self.fc(self.average(x).flatten(1))
