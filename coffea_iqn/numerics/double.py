"""Elementary functions in double precision, built from additions, multiplications, divisions and comparisons only.

These operations round identically on every processor, so the results have the same bits everywhere; the functions of
the system's math library and of numpy differ in the last digit between machines. The polynomials are those of
Sun Microsystems' fdlibm (1993); tests check their accuracy. For single precision see `single`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coffea_iqn.numerics.arrays import Doubles, Floats, Singles
from coffea_iqn.numerics.compiling import kernel, part

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # their sum is log 2; the first has few bits
LOG2_E = 1.44269504088896338700
EXP_MIN, EXP_MAX = -708.0, 709.0  # range of double precision
MANTISSA, SQRT_HALF = np.int64(0x000FFFFFFFFFFFFF), np.int64(0x3FE6A09E667F3BCD)  # a mask, and the bits of √½
SHIFT, BIAS = np.int64(52), np.int64(1023)
QUARTER_HIGH, QUARTER_LOW = 1.57079632673412561417, 6.07710050650619224932e-11  # π/2, split in the same way
TURN, HALF_TURN, QUARTER_TURN, EIGHTH_TURN = 2.0 * np.pi, np.pi, np.pi / 2.0, np.pi / 4.0
EIGHTH_TURN_LOW = 3.06161699786838301793e-17  # rounding errors of π/4 and arctan ½
ARCTAN_HALF, ARCTAN_HALF_LOW = 4.63647609000806093515e-01, 2.26987774529616870924e-17


@part
def log(x: float) -> float:
    """Natural logarithm for x ≥ 1e-307, relative error below 1e-15; NaN for 0, infinity and negative x."""
    bits = np.float64(x).view(np.int64) - SQRT_HALF
    n = float(bits >> SHIFT)
    f = np.int64((bits & MANTISSA) + SQRT_HALF).view(np.float64) - 1.0  # from √½ − 1 to √2 − 1
    s = f / (2.0 + f)
    z = s * s
    p = 1.479819860511658591e-01
    p = p * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = p * z + 6.666666666666735130e-01
    half_square = 0.5 * f * f
    value = n * LN2_HIGH - ((half_square - (s * (half_square + p * z) + n * LN2_LOW)) - f)
    return value if 0.0 < x < np.inf else np.nan


@part
def exp(x: float) -> float:
    """e^x, relative error below 1e-15; x is clipped to −708 to 709; NaN for NaN."""
    within = min(max(x, EXP_MIN), EXP_MAX)
    n = np.floor(within * LOG2_E + 0.5)
    high, low = within - n * LN2_HIGH, n * LN2_LOW
    r = high - low
    z = r * r
    p = 4.13813679705723846039e-08
    p = p * z + -1.65339022054652515390e-06
    p = p * z + 6.61375632143793436117e-05
    p = p * z + -2.77777777770155933842e-03
    p = p * z + 1.66666666666666019037e-01
    c = r - p * z
    power_of_two = np.int64((np.int64(n) + BIAS) << SHIFT).view(np.float64)
    return (1.0 - ((low - r * c / (2.0 - c)) - high)) * power_of_two if not np.isnan(x) else x


@part
def sine_and_cosine(x: float) -> tuple[float, float]:
    """Sine and cosine of x, error below 2e-16 for |x| up to 10^5."""
    quarters = np.rint(x / QUARTER_TURN)
    r = (x - quarters * QUARTER_HIGH) - quarters * QUARTER_LOW
    z = r * r
    p = 1.58969099521155010221e-10
    p = p * z + -2.50507602534068634195e-08
    p = p * z + 2.75573137070700676789e-06
    p = p * z + -1.98412698298579493134e-04
    p = p * z + 8.33333333332248946124e-03
    p = p * z + -1.66666666666666324348e-01
    sine = r + r * z * p
    q = -1.13596475577881948265e-11
    q = q * z + 2.08757232129817482790e-09
    q = q * z + -2.75573143513906633035e-07
    q = q * z + 2.48015872894767294178e-05
    q = q * z + -1.38888888888741095749e-03
    q = q * z + 4.16666666666666019037e-02
    cosine = 1.0 - (0.5 * z - z * z * q)
    turned = np.int64(quarters)
    if turned & 1:
        sine, cosine = cosine, -sine
    return (-sine, -cosine) if turned & 2 else (sine, cosine)


@part
def arctan2(y: float, x: float) -> float:
    """The angle of the point (x, y), from −π to π, error below 5e-16; 0 for (0, 0)."""
    large, small = max(abs(x), abs(y)), min(abs(x), abs(y))
    slope = small / large if large > 0.0 else 0.0
    base, base_low, t = 0.0, 0.0, slope
    if slope >= 0.6875:
        base, base_low, t = EIGHTH_TURN, EIGHTH_TURN_LOW, (slope - 1.0) / (slope + 1.0)
    elif slope >= 0.4375:
        base, base_low, t = ARCTAN_HALF, ARCTAN_HALF_LOW, (2.0 * slope - 1.0) / (2.0 + slope)
    z = t * t
    p = 1.62858201153657823623e-02
    p = p * z + -3.65315727442169155270e-02
    p = p * z + 4.97687799461593236017e-02
    p = p * z + -5.83357013379057348645e-02
    p = p * z + 6.66107313738753120669e-02
    p = p * z + -7.69187620504482999495e-02
    p = p * z + 9.09088713343650656196e-02
    p = p * z + -1.11111104054623557880e-01
    p = p * z + 1.42857142725034663711e-01
    p = p * z + -1.99999999998764832476e-01
    p = p * z + 3.33333333333329318027e-01
    angle = base - ((t * p * z - base_low) - t)
    if abs(y) > abs(x):
        angle = QUARTER_TURN - angle
    if x < 0.0:
        angle = HALF_TURN - angle
    return -angle if y < 0.0 else angle


@part
def wrapped(angle: float) -> float:
    """Wrap an angle [rad] to −π to π."""
    return float(angle - TURN * np.rint(angle / TURN))


@part
def phi_of(angle: float) -> float:
    """Wrap an angle [rad] to (−π, π], as `features.wrap_phi` does."""
    phi = wrapped(angle)
    return phi + TURN if phi <= -HALF_TURN else phi


@part
def take_logs(of: Doubles) -> None:
    """Overwrite numbers, (n, N), with their logarithms.

    Taken together in one loop, which the compiler vectorises, they cost a fraction of logarithms taken one by one.
    """
    for k in range(len(of)):
        numbers = of[k]
        for i in range(len(numbers)):
            numbers[i] = log(numbers[i])


@part
def write_logs(of: Doubles, at: tuple[int, ...], columns: Singles) -> None:
    """Write logarithms of rows of numbers, (n, N), which are overwritten, to columns at, (n,), of an array (N, m)."""
    take_logs(of)
    for row in range(of.shape[1]):
        for k in range(len(at)):
            columns[row, at[k]] = of[k, row]


@kernel
def angles(y: Doubles, x: Doubles) -> Doubles:
    """Elementwise `arctan2`, (N,)."""
    out = np.empty(len(y))
    for i in range(len(y)):
        out[i] = arctan2(y[i], x[i])
    return out


@kernel
def logs(x: Doubles) -> Doubles:
    """Elementwise `log`, (N,)."""
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = log(x[i])
    return out


@kernel
def exps(x: Doubles) -> Doubles:
    """Elementwise `exp`, (N,)."""
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = exp(x[i])
    return out


@kernel
def sines_and_cosines(x: Doubles) -> tuple[Doubles, Doubles]:
    """Elementwise `sine_and_cosine`, (N,) each."""
    sines, cosines = np.empty(len(x)), np.empty(len(x))
    for i in range(len(x)):
        sines[i], cosines[i] = sine_and_cosine(x[i])
    return sines, cosines


class Directions(NamedTuple):
    """Sines and cosines of angles, (N,) each."""

    sine: Doubles
    cosine: Doubles


def directions(phi: Floats) -> Directions:
    """Return the `Directions` of angles [rad], (N,); one loop for all, which the compiler vectorises."""
    return Directions(*sines_and_cosines(phi.astype(np.float64)))
