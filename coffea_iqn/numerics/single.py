"""Elementary functions in single precision, built from additions, multiplications, divisions and comparisons only.

These operations round identically on every processor, so the results have the same bits everywhere, which math
libraries do not guarantee; and the compiler vectorises them over jets. The polynomials are those of S. L. Moshier's
Cephes library; tests check their accuracy.
"""

from __future__ import annotations

import numpy as np

from coffea_iqn.numerics.compiling import part

INT, FLOAT = np.int32, np.float32
ZERO, HALF, ONE, TWO = FLOAT(0.0), FLOAT(0.5), FLOAT(1.0), FLOAT(2.0)
EXP_MIN, EXP_MAX = FLOAT(-87.0), FLOAT(88.0)  # range of single precision
LOG2_E = FLOAT(1.44269504088896341)
LN2_HIGH, LN2_LOW = FLOAT(0.693359375), FLOAT(-2.12194440e-4)  # their sum is log 2; the first has few bits
MANTISSA, SQRT_HALF = INT(0x007FFFFF), INT(0x3F3504F3)  # a mask, and the bits of √½
SHIFT, BIAS = INT(23), INT(127)
TURN = FLOAT(6.283185307179586)


@part
def exp(x: np.float32) -> np.float32:
    """e^x, relative error below 1e-7; x is clipped to −87 to 88."""
    x = min(max(x, EXP_MIN), EXP_MAX)
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    p = FLOAT(1.9875691500e-4)
    p = p * r + FLOAT(1.3981999507e-3)
    p = p * r + FLOAT(8.3334519073e-3)
    p = p * r + FLOAT(4.1665795894e-2)
    p = p * r + FLOAT(1.6666665459e-1)
    p = p * r + FLOAT(5.0000001201e-1)
    power_of_two = INT((INT(n) + BIAS) << SHIFT).view(FLOAT)
    return FLOAT((p * r * r + r + ONE) * power_of_two)


@part
def log(x: np.float32) -> np.float32:
    """Natural logarithm for x above 1e-38, relative error below 2e-7."""
    bits = FLOAT(x).view(INT) - SQRT_HALF
    n = FLOAT(bits >> SHIFT)
    f = INT((bits & MANTISSA) + SQRT_HALF).view(FLOAT) - ONE  # from √½ − 1 to √2 − 1
    p = FLOAT(7.0376836292e-2)
    p = p * f + FLOAT(-1.1514610310e-1)
    p = p * f + FLOAT(1.1676998740e-1)
    p = p * f + FLOAT(-1.2420140846e-1)
    p = p * f + FLOAT(1.4249322787e-1)
    p = p * f + FLOAT(-1.6668057665e-1)
    p = p * f + FLOAT(2.0000714765e-1)
    p = p * f + FLOAT(-2.4999993993e-1)
    p = p * f + FLOAT(3.3333331174e-1)
    square = f * f
    return FLOAT(f + (p * f * square + n * LN2_LOW - HALF * square) + n * LN2_HIGH)


@part
def sine(turns: np.float32) -> np.float32:
    """sin(2π x), error below 4e-7."""
    x = turns - np.floor(turns + HALF)  # from −½ to ½
    folded = min(abs(x), HALF - abs(x)) * TURN  # up to π/2
    square = folded * folded
    p = FLOAT(-2.3889859e-8)
    p = p * square + FLOAT(2.7525562e-6)
    p = p * square + FLOAT(-1.9840874e-4)
    p = p * square + FLOAT(8.3333310e-3)
    p = p * square + FLOAT(-1.6666667e-1)
    value = folded + folded * square * p
    return FLOAT(-value if x < ZERO else value)


@part
def tanh(x: np.float32) -> np.float32:
    """Hyperbolic tangent, error below 2e-7."""
    return FLOAT(ONE - TWO / (exp(TWO * x) + ONE))


@part
def sinh(x: np.float32) -> np.float32:
    """Hyperbolic sine, error below 1e-7 × (1 + |sinh x|)."""
    power = exp(x)
    return FLOAT(HALF * (power - ONE / power))


@part
def arcsinh(x: np.float32) -> np.float32:
    """Inverse of `sinh`, error below 2e-7 × (1 + |x|)."""
    size = log(abs(x) + np.sqrt(x * x + ONE))
    return FLOAT(-size if x < ZERO else size)


@part
def logistic(x: np.float32) -> np.float32:
    """1 / (1 + e^−x)."""
    return FLOAT(ONE / (ONE + exp(-x)))


@part
def wrapped(angle: np.float32) -> np.float32:
    """Wrap an angle [rad] to −π to π."""
    return FLOAT(angle - TURN * np.floor(angle / TURN + HALF))
