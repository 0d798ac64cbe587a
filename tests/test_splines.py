from __future__ import annotations

import pytest
import torch

from coffea_iqn.iqn.splines import inverse, positive, spline

KNOTS = torch.tensor([-3.0, -1.0, 0.5, 2.0, 4.0], dtype=torch.float64)


@pytest.fixture
def curves():
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(1000, len(KNOTS), generator=generator, dtype=torch.float64) + 0.05
    slopes = torch.randn(1000, len(KNOTS), generator=generator, dtype=torch.float64)
    x = 4.0 * torch.randn(1000, generator=generator, dtype=torch.float64)
    return x, steps.cumsum(dim=1) - 2.0, slopes


def test_inverse_undoes_the_spline_tails_included(curves):
    x, values, slopes = curves
    assert (x < KNOTS[0]).any()
    assert (x > KNOTS[-1]).any()
    y, slope = spline(x, KNOTS, values, slopes)
    several = torch.stack([y, y + 1.0, y], dim=1)
    again, slope_again = inverse(several, KNOTS, values, slopes)
    for column in (0, 2):
        torch.testing.assert_close(again[:, column], x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(slope_again[:, column], slope, rtol=1e-9, atol=1e-9)
    assert (again[:, 1] > again[:, 0]).all()


def test_slope_is_the_derivative(curves):
    x, values, slopes = curves
    x = x.requires_grad_()
    y, slope = spline(x, KNOTS, values, slopes)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, slope)
    assert (slope > 0).all()


def test_goes_through_its_knots(curves):
    _, values, slopes = curves
    for k, knot in enumerate(KNOTS):
        y, slope = spline(knot.expand(1000), KNOTS, values, slopes)
        torch.testing.assert_close(y, values[:, k])
        torch.testing.assert_close(slope, positive(slopes[:, k]) + 1e-3)


def test_positive_is_above_zero_rises_and_is_inverted():
    x = torch.linspace(-50.0, 50.0, 1001, dtype=torch.float64)
    y = positive(x)
    assert (y > 0).all()
    assert (y.diff() > 0).all()
    torch.testing.assert_close(y - 1.0 / y, x)
