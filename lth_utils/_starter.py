"""A study of your own, to be changed where you like. Try it, then run it:

lth imp my_study.py --scale smoke
lth imp my_study.py
"""

import torch
from torch import nn

import lth_utils as lth
from lth_utils.recipes import Adam, Recipe


class Network(nn.Module):
    """Any module: linear layers and convolutions are pruned. It is made from the shape of one image
    and the number of classes."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.conv = nn.Conv2d(inputs[0], 16, 3, stride=2, padding=1)
        self.residual = nn.Conv2d(16, 16, 3, padding=1)
        self.output = nn.Linear(16, classes)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = torch.relu(x + self.residual(x))
        return self.output(x.amax((2, 3)))


# Your arrays: pictures (N, H, W) or (N, channels, H, W), or a table (N, columns); a label for each.
digits = lth.datasets.load("mnist-5k")
data = lth.datasets.make(
    "my digits",
    digits.train.images,
    digits.train.labels,
    val=(digits.val.images, digits.val.labels),  # or the share of them that validates: val=0.1
    test=(digits.test.images, digits.test.labels),
)

task = lth.Task(
    name="my-study",
    title="A small residual network",
    network=Network,
    dataset=data,
    recipe=Recipe(duration="1000it", batch=60, optimiser=Adam(3e-3), every="50it"),
    prune={"conv": 0.2, "linear": 0.2, "output": 0.1},  # of what is left, at every level
    levels=3,
    stride=3,  # one of our levels removes as much as three of these
    replicates=5,
    scales={
        "live": {"recipe": {"duration": "300it"}, "replicates": 3},
        "smoke": {
            "recipe": {"duration": "20it", "every": "10it"},
            "levels": 1,
            "replicates": 2,
            "images": (500, 100, 200),
        },
    },
)
