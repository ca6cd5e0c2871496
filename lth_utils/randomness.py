"""Every draw has a name.

A random number in this package is a function of *who asks and what for*: a seed, a purpose and
where in the experiment it is needed (a layer, a level, an epoch). Nothing depends on what was
drawn before, so a replicate alone equals the same replicate in a population, and a resumed
training equals a straight one.

The bits come from Philox (Salmon et al., 2011), whose raw output NumPy guarantees; what turns
them into permutations and normal deviates is ours and uses only operations that IEEE 754 rounds
exactly, so that the same name gives the same bits on every machine. :data:`GENERATOR` is raised
whenever a stream changes.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from lth_utils.errors import unknown

GENERATOR = 1
"""The version of every stream; results of different versions are not comparable bit by bit."""

PURPOSES = (
    "init", "reinit", "order", "augment", "dropout", "random mask", "copy", "split", "probe",
    "label noise", "permuted inputs", "drawn", "mask",
    "treatment", "grown",
)  # fmt: skip
"""What a draw can be for."""


class Stream:
    """The stream of random bits with a given name; each call draws the next ones from it."""

    def __init__(self, name: str):
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
        self.name = name
        self._philox = np.random.Philox(key=key)

    def bits(self, n: int) -> np.ndarray:
        """``n`` independent 64-bit words, uint64 (n,)."""
        return self._philox.random_raw(n)

    def uniform(self, *shape: int) -> np.ndarray:
        """Uniform deviates strictly between 0 and 1, float64 of ``shape``."""
        words = self.bits(int(np.prod(shape)))
        return (((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52).reshape(shape)

    def coarse(self, *shape: int) -> np.ndarray:
        """Uniform deviates strictly between 0 and 1, float32 of ``shape``, two from each word."""
        count = int(np.prod(shape))
        halves = self.bits((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
        # With 23 bits and a half, so that float32 holds each of them exactly.
        return ((halves >> np.uint32(9)).astype(np.float32) + 0.5).reshape(shape) * 2.0**-23

    def integers(self, high: int, *shape: int) -> np.ndarray:
        """Integers from 0 to ``high - 1``, int64 of ``shape``."""
        return (self.uniform(*shape) * high).astype(np.int64)

    def permutation(self, n: int) -> np.ndarray:
        """A permutation of 0 to ``n - 1``, int64 (n,): the order in which n random words sort."""
        words = self.bits(n)
        # Sorting values is five times as fast as finding their order: each word's last bits make
        # room for its position, and only where the bits before them agree does that change a thing.
        low = np.uint64(max(1, n - 1).bit_length())
        packed = np.sort(words >> low << low | np.arange(n, dtype=np.uint64))
        high = packed >> low
        if (high[1:] == high[:-1]).any():
            return np.argsort(words, kind="stable")
        return (packed & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal deviates, float32 tensor of ``shape`` on the CPU."""
        return torch.from_numpy(_normal_quantile(self.uniform(*shape)).astype(np.float32))


def stream(seed: int, purpose: str, *where: object) -> Stream:
    """The stream for ``purpose`` (one of :data:`PURPOSES`) of replicate ``seed`` at ``where``.

    >>> a, b = stream(0, "order", 3), stream(0, "order", 3)
    >>> bool((a.permutation(100) == b.permutation(100)).all())
    True

    Raises:
        InputError: the purpose is not one of those known.
    """
    if purpose not in PURPOSES:
        raise unknown("purpose of a draw", purpose, PURPOSES)
    return Stream("|".join(map(str, ("lth", GENERATOR, seed, purpose, *where))))


# The inverse of the normal distribution function: Wichura's algorithm AS 241 (1988), good to
# about 16 digits. Coefficients from the lowest power up; each row is numerator, denominator.
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3),
)  # fmt: skip
_SHOULDER = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)  # fmt: skip
_TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)  # fmt: skip


def _horner(coefficients, x: np.ndarray) -> np.ndarray:
    total = np.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _ratio(pair, x: np.ndarray) -> np.ndarray:
    return _horner(pair[0], x) / _horner(pair[1], x)


def _log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm by exactly rounded operations alone.

    The mathematics library's logarithm may differ in the last bit from one processor to the
    next, and one bit is enough to change the fingerprint of a network's initial weights.
    """
    mantissa, exponent = np.frexp(x)
    low = mantissa < np.sqrt(0.5)
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), exponent - low
    s = (mantissa - 1) / (mantissa + 1)
    series = _horner([1 / (2 * k + 1) for k in range(12)], s * s)
    return 2 * s * series + exponent * 0.6931471805599453


def _normal_quantile(u: np.ndarray) -> np.ndarray:
    q = u - 0.5
    z = q * _ratio(_CENTRE, 0.180625 - q * q)
    out = np.abs(q) > 0.425
    r = np.sqrt(-_log(np.minimum(u[out], 1 - u[out])))
    far = np.where(r <= 5, _ratio(_SHOULDER, r - 1.6), _ratio(_TAIL, r - 5))
    z[out] = np.copysign(far, q[out])
    return z
