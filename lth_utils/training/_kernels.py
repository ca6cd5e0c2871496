"""The CPU kernels that no library has: a training step that costs what a sparse network keeps, and
an optimiser's step that masks as it goes.

A sparse network needs no layers. It is a list of *units* in an order in which every unit comes
after those it reads: the live inputs first, then unit after unit. A unit reads only through the
weights that its mask keeps, so the weights of all units lie in one array, in compressed sparse
rows. Activations are stored unit by unit, each a row with one entry an image: the innermost loops
then run along a batch, over consecutive numbers, whatever the mask looks like.

All of it is compiled by Numba, once a machine, and runs without Python's lock: networks train on
as many threads as there are cores.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

# Sums over a batch may be added up in any order, as a matrix product's are.
_compiled = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"}
)

IDENTITY, RELU, TANH = 0, 1, 2
ADAM, SGD = 0, 1


class Net(NamedTuple):
    """A sparse network's wiring. Unit u has its activations at ``u * batch`` of a flat array."""

    batch: int
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
    x = np.empty(units * net.batch, weights.value.dtype)
    d = np.empty(units * net.batch, weights.value.dtype)
    for step in range(len(index)):
        _show(net, images, index[step], x)
        _forward(net, weights.value, biases.value, x)
        d[:] = 0
        _loss_gradient(net, labels, index[step], x, d)
        _backward(net, weights, biases, x, d)
        everything = np.empty(0, np.uint8)
        update(weights, everything, rule, rates[step], taken + step + 1)
        update(biases, everything, rule, rates[step], taken + step + 1)


@_compiled
def evaluate(net, weights, biases, images, labels):
    """Cross-entropy summed over all images, and how many are classified right."""
    units = len(net.pixels) + len(net.kind)
    x = np.empty(units * net.batch, weights.dtype)
    first = (units - net.classes) * net.batch
    loss, right = 0.0, 0
    for begin in range(0, len(labels), net.batch):
        # The last batch is filled up with the last image, which is then not counted again.
        index = np.minimum(np.arange(begin, begin + net.batch), len(labels) - 1)
        _show(net, images, index, x)
        _forward(net, weights, biases, x)
        for b in range(min(net.batch, len(labels) - begin)):
            best, high = 0, -np.inf
            for c in range(net.classes):
                output = np.float64(x[first + c * net.batch + b])
                if output > high:
                    best, high = c, output
            total = 0.0
            for c in range(net.classes):
                total += np.exp(np.float64(x[first + c * net.batch + b]) - high)
            label = labels[begin + b]
            loss += np.log(total) + high - np.float64(x[first + label * net.batch + b])
            right += best == label
    return loss, right


@_compiled
def _show(net, images, index, x):
    """The batch as the input units' activations."""
    for p in range(len(net.pixels)):
        pixel, scale, shift = net.pixels[p], net.scale[p], net.shift[p]
        for b in range(net.batch):
            x[p * net.batch + b] = images[index[b], pixel] * scale + shift


# Offsets below are unsigned: for a signed one Numba asks at every access whether it is negative.


@_compiled
def _forward(net, weights, biases, x):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    batch = np.uint64(net.batch)
    for row in range(len(net.kind)):
        y = np.uint64(row + len(net.pixels)) * batch
        for b in range(batch):
            x[y + b] = biases[row]
        k, end = net.begins[row], net.begins[row + 1]
        # Eight weights at once: the row of sums is read and written an eighth as often.
        while k + 8 <= end:
            w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
            w4, w5, w6, w7 = weights[k + 4], weights[k + 5], weights[k + 6], weights[k + 7]
            r0, r1 = np.uint64(net.reads[k]), np.uint64(net.reads[k + 1])
            r2, r3 = np.uint64(net.reads[k + 2]), np.uint64(net.reads[k + 3])
            r4, r5 = np.uint64(net.reads[k + 4]), np.uint64(net.reads[k + 5])
            r6, r7 = np.uint64(net.reads[k + 6]), np.uint64(net.reads[k + 7])
            for b in range(batch):
                x[y + b] += (
                    ((w0 * x[r0 + b] + w1 * x[r1 + b]) + (w2 * x[r2 + b] + w3 * x[r3 + b]))
                    + ((w4 * x[r4 + b] + w5 * x[r5 + b]) + (w6 * x[r6 + b] + w7 * x[r7 + b]))
                )  # fmt: skip
            k += 8
        while k < end:
            w0, r0 = weights[k], np.uint64(net.reads[k])
            for b in range(batch):
                x[y + b] += w0 * x[r0 + b]
            k += 1
        if net.kind[row] == RELU:
            for b in range(batch):
                x[y + b] = max(x[y + b], zero)
        elif net.kind[row] == TANH:
            for b in range(batch):
                x[y + b] = np.tanh(x[y + b]) * one


@_compiled
def _loss_gradient(net, labels, index, x, d):
    """Mean cross-entropy's gradient at the outputs, (softmax − one-hot) / batch."""
    first = (len(net.pixels) + len(net.kind) - net.classes) * net.batch
    share = x.dtype.type(1 / net.batch)
    for b in range(net.batch):
        high = x[first + b]
        for c in range(1, net.classes):
            high = max(high, x[first + c * net.batch + b])
        total = x.dtype.type(0)
        for c in range(net.classes):
            at = first + c * net.batch + b
            d[at] = np.exp(x[at] - high)
            total += d[at]
        for c in range(net.classes):
            d[first + c * net.batch + b] *= share / total
        d[first + labels[index[b]] * net.batch + b] -= share


@_compiled
def _backward(net, weights, biases, x, d):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    batch = np.uint64(net.batch)
    hidden = np.uint64(len(net.pixels)) * batch
    for row in range(len(net.kind) - 1, -1, -1):
        y = np.uint64(row + len(net.pixels)) * batch
        if net.kind[row] == RELU:
            for b in range(batch):
                d[y + b] = d[y + b] if x[y + b] > zero else zero
        elif net.kind[row] == TANH:
            for b in range(batch):
                d[y + b] *= one - x[y + b] * x[y + b]
        total = zero
        for b in range(batch):
            total += d[y + b]
        biases.gradient[row] = total if net.biased[row] else zero
        k, end = net.begins[row], net.begins[row + 1]
        # Nobody asks for the gradient of a pixel, and a unit reads only pixels or only units.
        passes_on = k < end and net.reads[k] >= hidden
        if passes_on:
            for j in range(k, end):
                w0, r0 = weights.value[j], np.uint64(net.reads[j])
                for b in range(batch):
                    d[r0 + b] += w0 * d[y + b]
        while k + 4 <= end:
            r0, r1 = np.uint64(net.reads[k]), np.uint64(net.reads[k + 1])
            r2, r3 = np.uint64(net.reads[k + 2]), np.uint64(net.reads[k + 3])
            g0, g1, g2, g3 = zero, zero, zero, zero
            for b in range(batch):
                slope = d[y + b]
                g0 += slope * x[r0 + b]
                g1 += slope * x[r1 + b]
                g2 += slope * x[r2 + b]
                g3 += slope * x[r3 + b]
            weights.gradient[k], weights.gradient[k + 1] = g0, g1
            weights.gradient[k + 2], weights.gradient[k + 3] = g2, g3
            k += 4
        while k < end:
            r0, g0 = np.uint64(net.reads[k]), zero
            for b in range(batch):
                g0 += d[y + b] * x[r0 + b]
            weights.gradient[k] = g0
            k += 1


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
