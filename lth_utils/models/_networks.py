"""The papers' networks as plain modules, each with a ``width``, and how wide their weights start.

Weights are counted at width 1, ten classes and images of 3 × 32 × 32 unless something else is said.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lth_utils.errors import InputError
from lth_utils.randomness import Stream

# Deviations of initial weights --------------------------------------------------------------------


def glorot_normal(shape: Sequence[int]) -> float:
    """Standard deviation of Glorot and Bengio (2010): sqrt(2 / (fan in + fan out))."""
    area = math.prod(shape[2:])
    return math.sqrt(2 / ((shape[0] + shape[1]) * area))


def kaiming_normal(shape: Sequence[int]) -> float:
    """Standard deviation of He et al. (2015), *Delving deep into rectifiers*: sqrt(2 / fan in)."""
    return math.sqrt(2 / math.prod(shape[1:]))


# Fully connected ----------------------------------------------------------------------------------


class LeNet(nn.Sequential):
    """LeNet-300-100: two hidden layers, fully connected (LeCun et al., 1998).

    Args:
        inputs: shape of one image.
        classes: number of outputs.
        width: multiplies both hidden layers; 1 is the paper's network, 266,200 prunable weights
            on MNIST.
    """

    def __init__(self, inputs: Sequence[int] = (1, 28, 28), classes: int = 10, width: float = 1.0):
        wide, narrow = _scaled(300, width), _scaled(100, width)
        super().__init__(
            OrderedDict(
                flatten=nn.Flatten(),
                fc1=nn.Linear(math.prod(inputs), wide),
                relu1=nn.ReLU(),
                fc2=nn.Linear(wide, narrow),
                relu2=nn.ReLU(),
                output=nn.Linear(narrow, classes),
            )
        )


class MLP(nn.Sequential):
    """Equal hidden layers, fully connected: 200 units each, three of them by default.

    The smallest network of the book in which resetting a ticket to initialisation costs accuracy
    that late rewinding brings back. 90,000 prunable weights on MNIST-1D.

    Args:
        inputs: shape of one image.
        classes: number of outputs.
        width: multiplies the hidden layers.
        depth: number of hidden layers, at least one.

    Raises:
        InputError: there is no hidden layer.
    """

    def __init__(
        self,
        inputs: Sequence[int] = (1, 1, 40),
        classes: int = 10,
        width: float = 1.0,
        depth: int = 3,
    ):
        if depth < 1:
            raise InputError(f"An MLP has at least one hidden layer; got {depth}.")
        layers, units = OrderedDict(flatten=nn.Flatten()), math.prod(inputs)
        for number in range(1, depth + 1):
            hidden = _scaled(200, width)
            layers[f"fc{number}"] = nn.Linear(units, hidden)
            layers[f"relu{number}"] = nn.ReLU()
            units = hidden
        layers["output"] = nn.Linear(units, classes)
        super().__init__(layers)


# Convolutions in a row ----------------------------------------------------------------------------


class Conv(nn.Sequential):
    """Conv-2, Conv-4 and Conv-6: pairs of convolutions, then two hidden layers fully connected.

    Small relatives of VGG (Frankle and Carbin, 2019, figure 2), without batch norm; each pair
    ends in a pooling that halves rows and columns. Prunable weights: 4,300,992 (of which
    convolutions 38,592), 2,425,024 (259,776) and 2,261,184 (1,144,512). For Conv-6 the paper
    prints 1.7M, which its layers do not give; its other five numbers are these.

    Args:
        inputs: channels, rows and columns of an image.
        classes: number of outputs.
        width: multiplies channels and hidden units.
        depth: number of convolutions: 2, 4 or 6.

    Raises:
        InputError: another depth, or images too small to be halved once a pair.
    """

    def __init__(
        self,
        inputs: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        width: float = 1.0,
        depth: int = 6,
    ):
        if depth not in (2, 4, 6):
            raise InputError(f"Conv has 2, 4 or 6 convolutions; got {depth}.")
        channels, rows, columns = _picture(inputs, halvings=depth // 2)
        layers = OrderedDict()
        for number in range(1, depth + 1):
            out = _scaled((64, 128, 256)[(number - 1) // 2], width)
            layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1)
            layers[f"relu{number}"] = nn.ReLU()
            channels = out
            if number % 2 == 0:
                layers[f"pool{number // 2}"] = nn.MaxPool2d(2)
                rows, columns = rows // 2, columns // 2
        hidden = _scaled(256, width)
        layers["flatten"] = nn.Flatten()
        layers["fc1"] = nn.Linear(channels * rows * columns, hidden)
        layers[f"relu{depth + 1}"] = nn.ReLU()
        layers["fc2"] = nn.Linear(hidden, hidden)
        layers[f"relu{depth + 2}"] = nn.ReLU()
        layers["output"] = nn.Linear(hidden, classes)
        super().__init__(layers)


class VGG(nn.Sequential):
    """VGG-11, VGG-16 and VGG-19 for small images, with batch norm and a single linear layer.

    The convolutions of Simonyan and Zisserman (2015) as Liu et al. (2019) and Frankle and Carbin
    (2019) use them on CIFAR-10: five groups, the first four each followed by a pooling, the last
    by the mean over the image. Batch norm shifts, so the convolutions have no biases. Prunable
    weights: 9,222,848, 14,715,584 and 20,024,000, of which 5,120 in the output layer.

    Without batch norm, as in Simonyan and Zisserman, the convolutions have biases and the weights
    start with the deviation of He et al., :func:`kaiming_normal`: with that of Glorot and Bengio
    each convolution and its rectifier leave half of the mean square of what arrives, or less, and
    no batch norm restores it.

    Args:
        inputs: channels, rows and columns of an image, at least 16 by 16.
        classes: number of outputs.
        width: multiplies all channels.
        depth: 11, 16 or 19, the number of layers with weights; it counts the two hidden layers
            that the network for large images has before its output.
        norm: whether each convolution is followed by batch norm.

    Raises:
        InputError: another depth, or images too small to be halved four times.
    """

    def __init__(
        self,
        inputs: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        width: float = 1.0,
        depth: int = 19,
        norm: bool = True,
    ):
        groups = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
        if depth not in groups:
            raise InputError(f"VGG has 11, 16 or 19 layers; got {depth}.")
        channels, _, _ = _picture(inputs, halvings=4)
        layers, number = OrderedDict(), 0
        for group, count in enumerate(groups[depth]):
            if group > 0:
                layers[f"pool{group}"] = nn.MaxPool2d(2)
            for _ in range(count):
                out, number = _scaled((64, 128, 256, 512, 512)[group], width), number + 1
                layers[f"conv{number}"] = nn.Conv2d(channels, out, 3, padding=1, bias=not norm)
                if norm:
                    layers[f"bn{number}"] = nn.BatchNorm2d(out)
                layers[f"relu{number}"] = nn.ReLU()
                channels = out
        layers["mean"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["output"] = nn.Linear(channels, classes)
        super().__init__(layers)
        if not norm:
            self.deviation = kaiming_normal


# Dropout ------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """A layer that draws at random at every step of training.

    Whoever trains puts one stream for each member into ``streams`` before a step, so that what is
    drawn has a name as every draw has. Without any, as in PyTorch code of a reader's own, PyTorch
    draws.

    Attributes:
        purpose: what the draws are for, one of :data:`lth_utils.randomness.PURPOSES`; empty if
            there are none.
    """

    purpose = ""

    def __init__(self):
        super().__init__()
        self.streams: list[Stream] = []


class Dropout(Noisy):
    """Leave out each unit with probability ``rate`` while training, and scale up the others
    (Srivastava et al., 2014).

    Raises:
        InputError: the rate is not at least 0 and below 1.
    """

    purpose = "dropout"

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise InputError(f"A dropout rate is at least 0 and below 1; got {rate}.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Units (B, \\*) of one member, some of them zero while training."""
        if not self.training or not self.streams:
            return F.dropout(x, self.rate, self.training)
        kept = torch.from_numpy(self.streams.pop(0).uniform(*x.shape) >= self.rate)
        return x * kept.to(x.device) / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def add_dropout(model: nn.Sequential, rate: float) -> None:
    """Put a :class:`Dropout` behind every hidden layer that is fully connected.

    Raises:
        InputError: the rate is not at least 0 and below 1, or there is no such layer.
    """
    layers = list(model.named_children())
    hidden = [i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Linear)][:-1]
    if not hidden:
        raise InputError("Dropout goes behind hidden layers that are fully connected; none is.")
    for number, i in enumerate(reversed(hidden)):  # behind the activation, from the last
        layers.insert(i + 2, (f"dropout{len(hidden) - number}", Dropout(rate)))
    for name in list(model._modules):
        del model._modules[name]
    for name, layer in layers:
        model.add_module(name, layer)


# Residual -----------------------------------------------------------------------------------------


class Shortcut(nn.Conv2d):
    """The 1 × 1 convolution that fits a block's input to its output.

    A kind of its own, because the first paper leaves these 2,560 weights of a ResNet-20 unpruned.
    """

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__(channels, out, 1, stride, bias=False)


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut around them (He et al., 2016)."""

    expansion = 1

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, out, 3, stride), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = _conv(out, out, 3), nn.BatchNorm2d(out)
        self.shortcut = _shortcut(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    """Convolutions of 1 × 1, 3 × 3 and 1 × 1, the last four times as wide (He et al., 2016).

    The 3 × 3 has the stride, as in the code of the lottery papers and in torchvision; in the
    paper the first 1 × 1 has it.
    """

    expansion = 4

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        wide = self.expansion * out
        self.conv1, self.bn1 = _conv(channels, out, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = _conv(out, out, 3, stride), nn.BatchNorm2d(out)
        self.conv3, self.bn3 = _conv(out, wide, 1), nn.BatchNorm2d(wide)
        self.shortcut = _shortcut(channels, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Sequential):
    """ResNet-20, ResNet-32 and ResNet-56 for small images (He et al., 2016, section 4.2).

    Three stages of as many blocks, with 16, 32 and 64 channels; what Frankle and Carbin (2019)
    call Resnet-18 is the ResNet-20. Where a block changes the shape, its shortcut is a 1 × 1
    convolution with batch norm, as in the lottery papers; in He et al. it is the identity, padded
    with zeros. Prunable weights: 270,896, 464,432 and 851,504, of which shortcuts 2,560 and
    output 640.

    Args:
        inputs: channels, rows and columns of an image.
        classes: number of outputs.
        width: multiplies all channels.
        depth: number of layers with weights, six for each block of a stage and two more.

    Raises:
        InputError: a depth that is not 8, 14, 20, 26 and so on.
    """

    def __init__(
        self,
        inputs: Sequence[int] = (3, 32, 32),
        classes: int = 10,
        width: float = 1.0,
        depth: int = 20,
    ):
        if depth < 8 or depth % 6 != 2:
            raise InputError(f"A ResNet has 8, 14, 20, 26, ... layers; got {depth}.")
        blocks = [depth // 6] * 3
        super().__init__(_residual(Block, blocks, 16, inputs, classes, width, large=False))


class _LargeResNet(nn.Sequential):
    """A residual network of four stages, 64 to 512 channels wide, whose images may be large."""

    _block: type[Block] | type[Bottleneck]
    _counts: tuple[int, int, int, int]

    deviation = staticmethod(kaiming_normal)
    """He et al. draw wider weights; :func:`~lth_utils.models.initialise` asks for this."""

    def __init__(
        self, inputs: Sequence[int] = (3, 224, 224), classes: int = 1000, width: float = 1.0
    ):
        large = min(_picture(inputs)[1:]) >= 64
        super().__init__(_residual(self._block, self._counts, 64, inputs, classes, width, large))


class ResNet18(_LargeResNet):
    """ResNet-18: four stages of two blocks with 64 to 512 channels (He et al., 2016, table 1).

    What Frankle and Carbin (2019) call Resnet-18 is another network, by its size the
    :class:`ResNet` of depth 20, with about a fortieth of these weights. Stem and initial weights
    are those of :class:`ResNet50`. Prunable weights: 11,678,912 on ImageNet (1,000 classes),
    11,164,352 on CIFAR-10, of which shortcuts 172,032.

    Args:
        inputs: channels, rows and columns of an image.
        classes: number of outputs.
        width: multiplies all channels.
    """

    _block, _counts = Block, (2, 2, 2, 2)


class ResNet50(_LargeResNet):
    """ResNet-50: four stages of bottlenecks with 64 to 512 channels, times four (He et al., 2016).

    Images of 64 pixels and more enter by a 7 × 7 convolution and a pooling that leave a quarter
    of the rows and columns; smaller ones by a 3 × 3 convolution that leaves all. Weights start
    with the deviation of He et al., :func:`kaiming_normal`. Prunable weights: 25,502,912 on
    ImageNet (1,000 classes), 23,467,712 on CIFAR-10, of which shortcuts 2,768,896.

    Args:
        inputs: channels, rows and columns of an image.
        classes: number of outputs.
        width: multiplies all channels.
    """

    _block, _counts = Bottleneck, (3, 4, 6, 3)


def _residual(block, counts, narrowest, inputs, classes, width, large) -> OrderedDict:
    """The layers of a residual network: a stem, stages of blocks, a mean and a linear layer."""
    picture, _, _ = _picture(inputs)
    channels = _scaled(narrowest, width)
    layers = OrderedDict(
        conv=_conv(picture, channels, 7, 2) if large else _conv(picture, channels, 3),
        bn=nn.BatchNorm2d(channels),
        relu=nn.ReLU(),
    )
    if large:
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    for stage, count in enumerate(counts, start=1):
        out = _scaled(narrowest * 2 ** (stage - 1), width)
        blocks = OrderedDict()
        for number in range(1, count + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            blocks[f"block{number}"] = block(channels, out, stride)
            channels = block.expansion * out
        layers[f"stage{stage}"] = nn.Sequential(blocks)
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(channels, classes)
    return layers


def _conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)


def _shortcut(channels: int, out: int, stride: int) -> nn.Module:
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(OrderedDict(conv=Shortcut(channels, out, stride), bn=nn.BatchNorm2d(out)))


# Sizes --------------------------------------------------------------------------------------------


def _scaled(units: int, width: float) -> int:
    if width <= 0:
        raise InputError(f"A network's width is a positive multiple; got {width}.")
    return max(1, round(units * width))


def _picture(inputs: Sequence[int], halvings: int = 0) -> tuple[int, int, int]:
    """Channels, rows and columns of an image that is to be halved so many times."""
    if len(inputs) != 3:
        raise InputError(
            f"A network of convolutions takes images of channels, rows and columns; got a shape "
            f"of {len(inputs)} numbers, {tuple(inputs)}."
        )
    channels, rows, columns = inputs
    if min(rows, columns) < 2**halvings:
        raise InputError(
            f"This network halves its images {halvings} times, so they have at least "
            f"{2**halvings} rows and columns; got {rows} × {columns}."
        )
    return channels, rows, columns
