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
        for part in (weights, biases):
            _update(part, 0, len(part.value), part.gradient, rule, rates[step], taken + step + 1)


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


@_compiled
def _update(values, begin, count, gradient, rule, rate, steps):
    """An optimiser's step, its ``steps``-th, for the ``count`` values from ``begin`` on."""
    value, first, second = values.value, values.mean, values.square
    # Constants in the type of the weights: one float64 among them makes the whole loop float64.
    real = value.dtype.type
    if rule.name == ADAM:
        beta, rest = real(rule.beta), real(1 - rule.beta)
        beta2, rest2 = real(rule.beta2), real(1 - rule.beta2)
        size = real(rate / (1 - rule.beta**steps))
        widen = real(1 / np.sqrt(1 - rule.beta2**steps))
        eps = real(rule.eps)
        for i in range(np.uint64(count)):
            at, g = np.uint64(begin) + i, gradient[i]
            mean = beta * first[at] + rest * g
            square = beta2 * second[at] + rest2 * g * g
            first[at], second[at] = mean, square
            value[at] -= size * mean / (np.sqrt(square) * widen + eps)
    else:
        momentum, decay, size = real(rule.beta), real(rule.decay), real(rate)
        for i in range(np.uint64(count)):
            at = np.uint64(begin) + i
            g = gradient[i] + decay * value[at]
            mean = momentum * first[at] + g
            first[at] = mean
            value[at] -= size * (g + momentum * mean if rule.nesterov else mean)


# Dense layers -------------------------------------------------------------------------------------

# Fully connected layers, of one network on one thread. Products of this size are too small to be
# handed to a library one by one: eight units at a time, against sixteen images or sixteen inputs,
# they come near its speed, and a gradient is used up where it arises, before it has left the cache.

ROWS = 8


class Layer(NamedTuple):
    """A linear layer with what follows it, made up to multiples of :data:`ROWS` units and of
    :data:`~lth_utils.training._vectors.LANES` inputs with zeros."""

    inputs: int
    units: int
    fed: int
    """How many inputs there are in truth."""
    kind: int
    biased: bool
    weights: Values
    """(units, inputs), flat; of the gradients only :data:`ROWS` rows."""
    biases: Values
    kept: np.ndarray
    """uint8, like the weights."""
    masked: bool
    freezes: bool
    """Whether some of the pruned weights are not zero."""
    fixed: np.ndarray
    """What pruned weights are, like the weights; empty if all are zero."""
    outputs: np.ndarray
    """(units, width), flat: what the layer puts out, an image a column."""
    slopes: np.ndarray
    """The loss's derivatives by what goes into the activation, likewise."""
    seen: np.ndarray
    """(width, inputs), flat: what the layer is fed, an image a row."""


@_compiled
def advance_dense(layers, classes, pixels, scale, shift, rule, images, labels, index, rates, taken):
    """Take one step for each row of ``index`` (K, batch), at ``rates`` (K,); see
    :func:`advance`. ``pixels`` (features, width) is a place for the batch, a pixel a row."""
    batch = index.shape[1]
    first, last = layers[0], layers[len(layers) - 1]
    width = len(last.outputs) // last.units
    for step in range(len(index)):
        for b in range(batch):
            image, row = index[step, b], np.uint64(b * first.inputs)
            for i in range(np.uint64(first.fed)):
                first.seen[row + i] = images[image, i] * scale[i] + shift[i]
        _turn(first.seen, first.inputs, batch, pixels, width, first.fed)
        for at in range(len(layers)):
            layer = layers[at]
            if at:
                before = layers[at - 1]
                _turn(before.outputs, width, before.units, layer.seen, layer.inputs, batch)
                _put_out(layer, before.outputs, width)
            else:
                _put_out(layer, pixels, width)
        last.slopes[:] = 0
        _softmax_gradient(last, classes, labels, index[step], width)
        for at in range(len(layers) - 1, -1, -1):
            layer = layers[at]
            _activation_gradient(layer)
            if at:  # before the weights change
                _pass_on(layer, layers[at - 1].slopes, width)
            _descend(layer, batch, width, rule, rates[step], taken + step + 1)


@_compiled
def _turn(a, a_width, rows, b, b_width, columns):
    """The transpose of the first rows and columns of flat ``a`` into flat ``b``."""
    for first in range(0, rows, 16):  # in tiles, which stay in the cache
        for j in range(columns):
            for i in range(first, min(first + 16, rows)):
                b[np.uint64(j * b_width + i)] = a[np.uint64(i * a_width + j)]


@_compiled
def _put_out(layer, x, width):
    """Outputs of the layer for inputs ``x`` (fed, width)."""
    w, bias, inputs = layer.weights.value, layer.biases.value, np.uint64(layer.inputs)
    zero, wide = x.dtype.type(0), np.uint64(width)
    for unit in range(0, layer.units, ROWS):
        o = np.uint64(unit)
        r0 = o * inputs
        r1, r2, r3 = r0 + inputs, r0 + _2 * inputs, r0 + _3 * inputs
        r4, r5, r6, r7 = r0 + _4 * inputs, r1 + _4 * inputs, r2 + _4 * inputs, r3 + _4 * inputs
        for c in range(_V0, wide, _V1):
            s0, s1, s2, s3 = _four(bias, o)
            s4, s5, s6, s7 = _four(bias, o + _4)
            for i in range(np.uint64(layer.fed)):
                v = load(x, i * wide + c)
                s0 = multiply_add(spread(w[r0 + i]), v, s0)
                s1 = multiply_add(spread(w[r1 + i]), v, s1)
                s2 = multiply_add(spread(w[r2 + i]), v, s2)
                s3 = multiply_add(spread(w[r3 + i]), v, s3)
                s4 = multiply_add(spread(w[r4 + i]), v, s4)
                s5 = multiply_add(spread(w[r5 + i]), v, s5)
                s6 = multiply_add(spread(w[r6 + i]), v, s6)
                s7 = multiply_add(spread(w[r7 + i]), v, s7)
            _put(layer.outputs, o * wide + c, wide, s0, s1, s2, s3)
            _put(layer.outputs, (o + _4) * wide + c, wide, s4, s5, s6, s7)
    y = layer.outputs
    if layer.kind == RELU:
        for k in range(np.uint64(len(y))):
            y[k] = max(y[k], zero)
    elif layer.kind == TANH:
        for k in range(np.uint64(len(y))):
            y[k] = np.tanh(y[k])


@_compiled
def _softmax_gradient(layer, classes, labels, index, width):
    """Mean cross-entropy's gradient at the outputs, (softmax − one-hot) / batch."""
    x, d = layer.outputs, layer.slopes
    share = x.dtype.type(1 / len(index))
    for b in range(len(index)):
        high = x[b]
        for c in range(1, classes):
            high = max(high, x[c * width + b])
        whole = x.dtype.type(0)
        for c in range(classes):
            d[c * width + b] = np.exp(x[c * width + b] - high)
            whole += d[c * width + b]
        for c in range(classes):
            d[c * width + b] *= share / whole
        d[labels[index[b]] * width + b] -= share


@_compiled
def _activation_gradient(layer):
    y, d = layer.outputs, layer.slopes
    zero, one = d.dtype.type(0), d.dtype.type(1)
    if layer.kind == RELU:
        for k in range(np.uint64(len(d))):
            d[k] = d[k] if y[k] > zero else zero
    elif layer.kind == TANH:
        for k in range(np.uint64(len(d))):
            d[k] *= one - y[k] * y[k]


@_compiled
def _pass_on(layer, below, width):
    """Slopes at the outputs of the layer below, before its activation."""
    w, d, inputs, wide = layer.weights.value, layer.slopes, layer.inputs, np.uint64(width)
    nothing = spread(d.dtype.type(0))
    for i in range(_V0, np.uint64(len(below) // width), np.uint64(ROWS)):
        for c in range(_V0, wide, _V1):
            s0, s1, s2, s3 = nothing, nothing, nothing, nothing
            s4, s5, s6, s7 = nothing, nothing, nothing, nothing
            for o in range(np.uint64(layer.units)):
                v, r = load(d, o * wide + c), o * np.uint64(inputs) + i
                s0 = multiply_add(spread(w[r]), v, s0)
                s1 = multiply_add(spread(w[r + _1]), v, s1)
                s2 = multiply_add(spread(w[r + _2]), v, s2)
                s3 = multiply_add(spread(w[r + _3]), v, s3)
                s4 = multiply_add(spread(w[r + _4]), v, s4)
                s5 = multiply_add(spread(w[r + _4 + _1]), v, s5)
                s6 = multiply_add(spread(w[r + _4 + _2]), v, s6)
                s7 = multiply_add(spread(w[r + _4 + _3]), v, s7)
            _put(below, i * wide + c, wide, s0, s1, s2, s3)
            _put(below, (i + _4) * wide + c, wide, s4, s5, s6, s7)


@_compiled
def _descend(layer, batch, width, rule, rate, steps):
    """Gradients of the layer's weights, eight rows at a time, and the step that they call for."""
    d, seen, inputs, wide = layer.slopes, layer.seen, np.uint64(layer.inputs), np.uint64(width)
    gradient, value, kept = layer.weights.gradient, layer.weights.value, layer.kept
    fixed = layer.fixed
    nothing, real = spread(d.dtype.type(0)), d.dtype.type
    for unit in range(0, layer.units, ROWS):
        o = np.uint64(unit)
        d0 = o * wide
        d1, d2, d3 = d0 + wide, d0 + _2 * wide, d0 + _3 * wide
        d4, d5, d6, d7 = d0 + _4 * wide, d1 + _4 * wide, d2 + _4 * wide, d3 + _4 * wide
        for i in range(_V0, inputs, _V1):
            s0, s1, s2, s3 = nothing, nothing, nothing, nothing
            s4, s5, s6, s7 = nothing, nothing, nothing, nothing
            for b in range(np.uint64(batch)):
                v = load(seen, b * inputs + i)
                s0 = multiply_add(spread(d[d0 + b]), v, s0)
                s1 = multiply_add(spread(d[d1 + b]), v, s1)
                s2 = multiply_add(spread(d[d2 + b]), v, s2)
                s3 = multiply_add(spread(d[d3 + b]), v, s3)
                s4 = multiply_add(spread(d[d4 + b]), v, s4)
                s5 = multiply_add(spread(d[d5 + b]), v, s5)
                s6 = multiply_add(spread(d[d6 + b]), v, s6)
                s7 = multiply_add(spread(d[d7 + b]), v, s7)
            _put(gradient, i, inputs, s0, s1, s2, s3)
            _put(gradient, _4 * inputs + i, inputs, s4, s5, s6, s7)
        first = o * inputs
        _update(layer.weights, first, ROWS * layer.inputs, gradient, rule, rate, steps)
        if layer.freezes:
            for k in range(np.uint64(ROWS) * inputs):
                here, there = value[first + k], fixed[first + k]
                value[first + k] = here if kept[first + k] else there
        elif layer.masked:
            for k in range(np.uint64(ROWS) * inputs):
                value[first + k] *= real(kept[first + k])
    if layer.biased:
        for o in range(layer.units):
            whole = real(0)
            for b in range(np.uint64(batch)):
                whole += d[np.uint64(o) * wide + b]
            layer.biases.gradient[o] = whole
        _update(layer.biases, 0, layer.units, layer.biases.gradient, rule, rate, steps)


_1, _2, _3, _4 = (np.uint64(i) for i in range(1, 5))


@_compiled
def _four(numbers, at):
    return (
        spread(numbers[at]), spread(numbers[at + _1]),
        spread(numbers[at + _2]), spread(numbers[at + _3]),
    )  # fmt: skip


@_compiled
def _put(array, at, apart, s0, s1, s2, s3):
    store(array, at, s0)
    store(array, at + apart, s1)
    store(array, at + _2 * apart, s2)
    store(array, at + _3 * apart, s3)
