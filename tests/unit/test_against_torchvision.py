"""Ours and torchvision's compute the same from the same weights, each under its own names."""

import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

from lth_utils import models
from lth_utils._torchvision import torchvision


@pytest.fixture(autouse=True)
def precise():
    """In single precision, batch norm over two small images magnifies what is rounded."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(module):
    """The module, built without memory, with random weights and random running statistics."""
    generator = torch.Generator().manual_seed(0)
    values = {}
    for name, empty in module.state_dict().items():
        tensor = torch.zeros(empty.shape, dtype=empty.dtype)
        if "running_var" in name:
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.dim() == 1:
            tensor.normal_(1 if "weight" in name else 0, 0.2, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(0, models.kaiming_normal(tensor.shape), generator=generator)
        values[name] = tensor
    module.load_state_dict(values, assign=True)
    return module


@torch.no_grad()
def check(theirs, ours, carry, pixels):
    """Outputs agree in evaluation and in training, and so do the statistics after it."""
    ours.load_state_dict(carry(drawn(theirs).state_dict()), assign=True)
    weights = models.from_module(ours)
    images = torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))
    for training in (False, True):
        expected = theirs.train(training)(images)
        assert expected.std() > 0.1, "outputs that show nothing"
        torch.testing.assert_close(models.forward(ours, weights, images, training)[0], expected)
    for name, values in carry(theirs.state_dict()).items():
        if "running" in name:
            torch.testing.assert_close(weights[name][0], values)


# Residual networks --------------------------------------------------------------------------------


def carry_resnet(values):
    def renamed(name):
        name = re.sub(r"^layer(\d)\.(\d)", lambda m: f"stage{m[1]}.block{int(m[2]) + 1}", name)
        name = re.sub(r"^(conv|bn)1\.", r"\1.", name)
        name = name.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")
        return name.replace("fc.", "output.")

    return {renamed(name): tensor for name, tensor in values.items()}


@pytest.mark.parametrize(
    "network, pixels, classes",
    [("resnet-18", 64, 1000), ("resnet-18", 16, 10), ("resnet-50", 64, 1000)],
)
def test_residual_networks_compute_what_torchvisions_compute(network, pixels, classes):
    """A stride, a shortcut or a stem that is not that of the paper."""
    with torch.device("meta"):
        theirs = getattr(torchvision().models, network.replace("-", ""))(num_classes=classes)
        ours = models.build(network, (3, pixels, pixels), classes)
        if pixels < 64:  # what is done to theirs for CIFAR-10
            theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    check(theirs, ours, carry_resnet, pixels)


# VGG ----------------------------------------------------------------------------------------------


def carry_vgg(values):
    """Their convolutions have biases before batch norm, too. It takes them out again, so that
    ours does without and has a running mean that is smaller by as much."""
    carried, number = {}, 0
    for name, tensor in values.items():
        layer, _, part = name.rpartition(".")
        number += tensor.dim() == 4
        kind = "bn" if f"{layer}.running_mean" in values else "conv"
        carried[name if layer == "output" else f"{kind}{number}.{part}"] = tensor
    for name in [name for name in carried if name.endswith("running_mean")]:
        bias = carried.pop(name.replace("bn", "conv").replace("running_mean", "bias"))
        carried[name] = carried[name] - bias
    return carried


@pytest.mark.parametrize(
    "network, name",
    [
        ("vgg-11", "vgg11_bn"),
        ("vgg-11-plain", "vgg11"),
        ("vgg-16", "vgg16_bn"),
        ("vgg-19", "vgg19_bn"),
    ],
)
def test_vgg_computes_what_torchvisions_computes(network, name):
    """A layer or a pooling out of place. Theirs is taken up to the last pooling, in whose stead
    ours has a mean, and one linear layer follows."""
    with torch.device("meta"):
        theirs = nn.Sequential(
            OrderedDict(
                features=getattr(torchvision().models, name)().features[:-1],
                mean=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                output=nn.Linear(512, 10),
            )
        )
        ours = models.build(network, (3, 32, 32), 10)
    check(theirs, ours, carry_vgg, 32)
