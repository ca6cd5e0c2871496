"""The CPU kernels that no library has: a training step that costs what a sparse network keeps, and
an optimiser's step that masks as it goes.

A sparse network needs no layers. It is a list of *units* in an order in which every unit comes
after those it reads: the live inputs first, then unit after unit. A unit reads only through the
weights that its mask keeps, so the weights of all units lie in one array, in compressed sparse
rows. Activations are stored unit by unit, each a row with one entry an image: whatever the mask
looks like, the innermost loops run along a batch, over consecutive numbers.

All of it is compiled by Numba, once a machine, and runs without Python's lock: networks train on
as many threads as there are cores.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from lth_utils.training._vectors import LANES, load, multiply_add, spread, store, total

# Sums over a batch may be added up in any order, as a matrix product's are.
_compiled = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"}
)

IDENTITY, RELU, TANH = 0, 1, 2
ADAM, SGD = 0, 1


class Net(NamedTuple):
    """A sparse network's wiring. Unit u has its activations at ``u * width`` of a flat array."""

    batch: int
    width: int
    """The batch, made up to a multiple of 64. What is beyond the batch has no gradient."""
    pixels: np.ndarray
    """int64: which feature of an image each input unit shows."""
    scale: np.ndarray
    shift: np.ndarray
    """What takes the pixel of each input unit to what the network sees."""
    begins: np.ndarray
    """int64, one more than there are rows: where each row's weights begin. Row 0 is the first unit
    after the inputs."""
    reads: np.ndarray
    """uint32: where the activations lie that each weight reads."""
    kind: np.ndarray
    """int8: each row's activation function."""
    biased: np.ndarray
    """bool: whether a row has a bias that trains."""
    classes: int
    """The last rows are the outputs."""


class Values(NamedTuple):
    """Numbers that training changes, either of all weights or of all biases."""

    value: np.ndarray
    gradient: np.ndarray
    mean: np.ndarray
    """Adam's first moment; SGD's momentum."""
    square: np.ndarray
    """Adam's second moment."""


class Rule(NamedTuple):
    """An optimiser: which one, and its constants."""

    name: int
    beta: float
    """Adam's first beta; SGD's momentum."""
    beta2: float = 0.0
    eps: float = 0.0
    decay: float = 0.0
    nesterov: bool = False


@_compiled
def advance(net, weights, biases, rule, images, labels, index, rates, taken):
    """Take one step for each row of ``index`` (K, batch), at ``rates`` (K,).

    ``images`` uint8 (N, features) and ``labels`` (N,) hold the whole training set; ``taken`` is
    how many steps the optimiser has taken before.
    """
    units = len(net.pixels) + len(net.kind)
    x = np.zeros(units * net.width, weights.value.dtype)
    d = np.zeros(units * net.width, weights.value.dtype)
    for step in range(len(index)):
        _show(net, images, index[step], x)
        _forward(net, weights.value, biases.value, x)
        d[len(net.pixels) * net.width :] = 0
        _loss_gradient(net, labels, index[step], x, d)
        _backward(net, weights, biases, x, d)
        everything = np.empty(0, np.uint8)
        update(weights, everything, rule, rates[step], taken + step + 1)
        update(biases, everything, rule, rates[step], taken + step + 1)


@_compiled
def evaluate(net, weights, biases, images, labels):
    """Cross-entropy summed over all images, and how many are classified right."""
    units = len(net.pixels) + len(net.kind)
    x = np.zeros(units * net.width, weights.dtype)
    first = (units - net.classes) * net.width
    loss, right = 0.0, 0
    for begin in range(0, len(labels), net.width):
        index = np.arange(begin, min(begin + net.width, len(labels)))
        _show(net, images, index, x)
        _forward(net, weights, biases, x)
        for b in range(len(index)):
            best, high = 0, -np.inf
            for c in range(net.classes):
                output = np.float64(x[first + c * net.width + b])
                if output > high:
                    best, high = c, output
            total = 0.0
            for c in range(net.classes):
                total += np.exp(np.float64(x[first + c * net.width + b]) - high)
            label = labels[begin + b]
            loss += np.log(total) + high - np.float64(x[first + label * net.width + b])
            right += best == label
    return loss, right


# Offsets are unsigned: of a signed one Numba asks at every access whether it is negative.


@_compiled
def _show(net, images, index, x):
    """The batch as the input units' activations."""
    for p in range(len(net.pixels)):
        pixel, scale, shift = net.pixels[p], net.scale[p], net.shift[p]
        at = np.uint64(p) * np.uint64(net.width)
        for b in range(np.uint64(len(index))):
            x[at + b] = images[index[b], pixel] * scale + shift


# A row of activations is read and written in pieces of 64, four vectors that stay in registers
# while all of a unit's weights pass by.

PIECE = 64
_V0, _V1, _V2, _V3, _V4 = (np.uint64(i * LANES) for i in range(5))


@_compiled
def _forward(net, weights, biases, x):
    zero = x.dtype.type(0)
    width = np.uint64(net.width)
    for row in range(len(net.kind)):
        y = np.uint64(row + len(net.pixels)) * width
        for at in range(_V0, width, _V4):
            s0 = spread(biases[row])
            s1, s2, s3 = s0, s0, s0
            for k in range(net.begins[row], net.begins[row + 1]):
                weight, read = spread(weights[k]), np.uint64(net.reads[k]) + at
                s0 = multiply_add(weight, load(x, read + _V0), s0)
                s1 = multiply_add(weight, load(x, read + _V1), s1)
                s2 = multiply_add(weight, load(x, read + _V2), s2)
                s3 = multiply_add(weight, load(x, read + _V3), s3)
            store(x, y + at + _V0, s0)
            store(x, y + at + _V1, s1)
            store(x, y + at + _V2, s2)
            store(x, y + at + _V3, s3)
        if net.kind[row] == RELU:
            for b in range(width):
                x[y + b] = max(x[y + b], zero)
        elif net.kind[row] == TANH:
            for b in range(width):
                x[y + b] = np.tanh(x[y + b])


@_compiled
def _loss_gradient(net, labels, index, x, d):
    """Mean cross-entropy's gradient at the outputs, (softmax − one-hot) / batch."""
    first = (len(net.pixels) + len(net.kind) - net.classes) * net.width
    share = x.dtype.type(1 / net.batch)
    for b in range(net.batch):
        high = x[first + b]
        for c in range(1, net.classes):
            high = max(high, x[first + c * net.width + b])
        total = x.dtype.type(0)
        for c in range(net.classes):
            at = first + c * net.width + b
            d[at] = np.exp(x[at] - high)
            total += d[at]
        for c in range(net.classes):
            d[first + c * net.width + b] *= share / total
        d[first + labels[index[b]] * net.width + b] -= share


@_compiled
def _backward(net, weights, biases, x, d):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    nothing = spread(zero)
    width = np.uint64(net.width)
    hidden = np.uint64(len(net.pixels)) * width
    for row in range(len(net.kind) - 1, -1, -1):
        y = np.uint64(row + len(net.pixels)) * width
        if net.kind[row] == RELU:
            for b in range(width):
                d[y + b] = d[y + b] if x[y + b] > zero else zero
        elif net.kind[row] == TANH:
            for b in range(width):
                d[y + b] *= one - x[y + b] * x[y + b]
        gradient = zero
        for b in range(width):
            gradient += d[y + b]
        biases.gradient[row] = gradient if net.biased[row] else zero
        begin, end = net.begins[row], net.begins[row + 1]
        for k in range(begin, end):
            products, read = nothing, np.uint64(net.reads[k])
            for at in range(_V0, width, _V4):
                here, there = y + at, read + at
                products = multiply_add(load(d, here + _V0), load(x, there + _V0), products)
                products = multiply_add(load(d, here + _V1), load(x, there + _V1), products)
                products = multiply_add(load(d, here + _V2), load(x, there + _V2), products)
                products = multiply_add(load(d, here + _V3), load(x, there + _V3), products)
            weights.gradient[k] = total(products)
        # Nobody asks for the gradient of a pixel, and a unit reads only pixels or only units.
        if begin < end and net.reads[begin] >= hidden:
            for k in range(begin, end):
                weight, read = spread(weights.value[k]), np.uint64(net.reads[k])
                for at in range(_V0, width, np.uint64(LANES)):
                    slope = multiply_add(weight, load(d, y + at), load(d, read + at))
                    store(d, read + at, slope)


# Updates ------------------------------------------------------------------------------------------

# A dense network's weights are updated and masked in one pass over memory; a sparse one's are all
# kept, and so is everything where ``kept`` is empty.


@_compiled
def update(values, kept, rule, rate, steps):
    """One step of an optimiser, its ``steps``-th, and zeros where ``kept`` (uint8) says so."""
    if rule.name == ADAM:
        _adam(values.value, values.gradient, values.mean, values.square, rule, rate, steps, kept)
    else:
        _sgd(values.value, values.gradient, values.mean, rule, rate, kept)


@_compiled
def _adam(value, gradient, first, second, rule, rate, steps, kept):
    # Constants in the type of the weights: one float64 among them makes the whole loop float64.
    real = value.dtype.type
    beta, rest = real(rule.beta), real(1 - rule.beta)
    beta2, rest2 = real(rule.beta2), real(1 - rule.beta2)
    size = real(rate / (1 - rule.beta**steps))
    widen = real(1 / np.sqrt(1 - rule.beta2**steps))
    eps = real(rule.eps)
    masked = len(kept) > 0
    for i in range(len(value)):
        g = gradient[i]
        mean = beta * first[i] + rest * g
        square = beta2 * second[i] + rest2 * g * g
        first[i], second[i] = mean, square
        new = value[i] - size * mean / (np.sqrt(square) * widen + eps)
        value[i] = new * real(kept[i]) if masked else new


@_compiled
def _sgd(value, gradient, momentum, rule, rate, kept):
    real = value.dtype.type
    beta, decay, size = real(rule.beta), real(rule.decay), real(rate)
    masked = len(kept) > 0
    for i in range(len(value)):
        g = gradient[i] + decay * value[i]
        mean = beta * momentum[i] + g
        momentum[i] = mean
        new = value[i] - size * (g + beta * mean if rule.nesterov else mean)
        value[i] = new * real(kept[i]) if masked else new
