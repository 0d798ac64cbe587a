from __future__ import annotations

import numpy as np
import pytest
import torch

from coffea_iqn.iqn.members.adversarial import WassersteinGAN
from coffea_iqn.iqn.members.flows import AutoregressiveFlow, SplineFlow
from coffea_iqn.iqn.members.pinball import IQNx4, pinball_loss
from coffea_iqn.iqn.members.spline import SplineIQN
from coffea_iqn.iqn.network import AUTOREGRESSIVE, JOINT, KINDS, MEMBERS, NO_BOUND, WITH_DENSITY, Network, shapes_of
from coffea_iqn.iqn.networks import DENSE, build

N_INPUTS = 3


def batch(n):
    """Contexts, targets and bounds."""
    return torch.randn(n, N_INPUTS), torch.randn(n, 4), unbounded(n)


def unbounded(n):
    """Return infinite bounds, encoded by `NO_BOUND`."""
    return torch.full((n, 4), -NO_BOUND), torch.full((n, 4), NO_BOUND)


def make(kind, n_targets=4):
    torch.manual_seed(0)
    made = build({"type": kind, "n_inputs": N_INPUTS, "n_targets": n_targets})
    made.begin_training()
    return made


@pytest.fixture(params=AUTOREGRESSIVE)
def network(request):
    return make(request.param)


@pytest.fixture(params=MEMBERS)
def member(request):
    return make(request.param)


def test_quantile_and_sample_shapes(network):
    tau, context = torch.rand(7, 4), torch.randn(7, N_INPUTS)
    assert network.sample(tau, context).shape == (7, 4)
    for k in range(4):
        assert network.quantile(k, tau[:, k], context, torch.randn(7, k)).shape == (7,)


def test_sample_draws_each_target_given_the_draws_before(network):
    tau, context = torch.rand(5, 4), torch.randn(5, N_INPUTS)
    drawn = network.sample(tau, context)
    for k in range(4):
        torch.testing.assert_close(drawn[:, k], network.quantile(k, tau[:, k], context, drawn[:, :k]))


def test_later_levels_do_not_reach_earlier_targets(network):
    tau, context = torch.rand(5, 4), torch.randn(5, N_INPUTS)
    changed = tau.clone()
    changed[:, 2] = 1.0 - changed[:, 2]
    torch.testing.assert_close(network.sample(tau, context)[:, :2], network.sample(changed, context)[:, :2])


def test_gradient_reaches_every_parameter(member):
    generator = torch.Generator().manual_seed(1)
    for _ in range(20 if isinstance(member, WassersteinGAN) else 1):  # generator or critic, at random
        member.loss(*batch(64), generator).backward()
    for name, parameter in member.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("bias"):
            assert parameter.grad.abs().max() > 0, name


def test_description_rebuilds_the_member(member):
    again = build(member.description())
    again.load_state_dict({name: member.state_dict()[name] for name in again.state_dict()})
    tau, context = torch.rand(4, member.n_levels), torch.randn(4, N_INPUTS)
    torch.testing.assert_close(again.sample(tau, context), member.sample(tau, context))


def test_loss_is_a_function_of_its_generator(member):
    same = batch(16)
    first, second, other = (member.loss(*same, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert first == second
    by_likelihood = isinstance(member, (SplineIQN, SplineFlow, AutoregressiveFlow))
    assert (first != other) == (not by_likelihood)  # losses by likelihood draw nothing


def test_loss_without_gradients_is_finite(member):
    with torch.no_grad():
        assert torch.isfinite(member.loss(*batch(8), torch.Generator()))


def test_a_trained_member_gives_a_known_law(member):
    network, steps = member, 750 if isinstance(member, WassersteinGAN) else 125
    torch.manual_seed(1)
    context = torch.randn(4096, N_INPUTS)
    target = context[:, :1] + torch.randn(4096, 4)
    optimiser = torch.optim.Adam(network.parameters(), lr=6e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimiser.zero_grad()
        rows = torch.randint(4096, (512,), generator=generator)
        network.loss(context[rows], target[rows], unbounded(512), generator).backward()
        optimiser.step()
    with torch.no_grad():
        tau, zero = torch.rand(20_000, network.n_levels), torch.zeros(20_000, N_INPUTS)
        drawn, other = (network.sample(tau, x)[:, 0] for x in (zero, zero + torch.eye(N_INPUTS)[0]))
    assert drawn.mean() == pytest.approx(0.0, abs=0.15)
    assert drawn.std() == pytest.approx(1.0, abs=0.2)
    # the mean is the context's, which networks know nothing of before they learn, and an adversarial one learns last
    assert other.mean() == pytest.approx(1.0, abs=0.6 if isinstance(member, WassersteinGAN) else 0.2)


def test_papers_size():
    network = IQNx4(4)
    assert sum(p.numel() for p in network.parameters()) == 42_504
    assert [type(layer).__name__ for layer in network.nets[0]][:2] == ["Linear", "LeakyReLU"]


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_pinball_loss_is_least_at_the_quantile(tau):
    y = torch.randn(20_001, generator=torch.Generator().manual_seed(0))
    candidates = torch.linspace(-2.0, 2.0, 401)
    losses = torch.stack([pinball_loss(q.expand_as(y), y, torch.tensor(tau)) for q in candidates])
    assert candidates[losses.argmin()] == pytest.approx(np.quantile(y.numpy(), tau), abs=0.02)


def test_crossing_quantiles_are_penalised():
    torch.manual_seed(0)
    same = batch(256)
    free, strict = (IQNx4(N_INPUTS, penalty=penalty) for penalty in (0.0, 100.0))
    strict.load_state_dict(free.state_dict())
    losses = [net.loss(*same, torch.Generator().manual_seed(1)) for net in (free, strict)]
    assert losses[1] > losses[0]  # with initial weights, half of all slopes are negative


def test_the_loss_is_the_likelihood_of_all_targets_plus_the_score_of_each_tail():
    torch.manual_seed(0)
    network = SplineIQN(N_INPUTS, 4, atoms=[1], tops=[1])
    x, n = torch.randn(500, N_INPUTS), 500
    bounds = torch.full((n, 4), -4.0), torch.full((n, 4), 4.0)
    with torch.no_grad():
        y = network.sample(torch.rand(n, 4), x, lambda k, _: (bounds[0][:, k], bounds[1][:, k]))
        assert {True, False} == set((y[:, 1] < -4.0).tolist())
        of_none, weights = (0.0,) * 4, torch.tensor([0.5, 0.0, 2.0, 0.5])
        likelihood = network.tail_loss(x, y, bounds, weights=of_none)
        expected = -network.levels_and_log_densities(y, x, bounds)[1].sum(dim=1).mean()
        torch.testing.assert_close(likelihood, expected)
        scores = torch.stack([network.tail_loss(x, y, bounds, weights=of) for of in torch.eye(4).tolist()]) - likelihood
        assert (scores > 0.0).all()
        together = network.tail_loss(x, y, bounds, weights=weights.tolist())
        torch.testing.assert_close(together, likelihood + scores @ weights)


@pytest.mark.parametrize(
    "description",
    [{}, {"type": "MLP", "n_inputs": 3}, {"type": "IQNx4"}, {"type": "IQNx4", "n_inputs": 3, "depth": 2}],
)
def test_wrong_descriptions_are_refused(description):
    for of in (build, shapes_of):
        with pytest.raises(ValueError, match="network"):
            of(description)


OTHERS = {
    "AcceptanceNetwork": {},
    "OriginNetwork": {"n_event": 1, "n_samples": 3, "moot": 0},
    "NumberNetwork": {"most": 4},
    "RatioNetwork": {"bound": 2.0, "candidates": 3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_of_a_type_without_torch_is_what_its_module_has(kind):
    modules = [make(kind, n) for n in (1, 4, 6)] if kind in MEMBERS else [DENSE[kind](N_INPUTS, **OTHERS[kind])]
    for module in modules:
        description, state = module.description(), module.state_dict()
        known = shapes_of(description)
        # modules may have further parameters for training
        draws = [name for name, _ in build(description).named_parameters()]
        assert known == {name: tuple(state[name].shape) for name in draws}
        again = Network(description, Network.of(module).arrays).module
        assert type(again) is type(module)
        assert all(torch.equal(t, state[name]) for name, t in again.state_dict().items())


@pytest.mark.parametrize("n_targets", [1, 6])
@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_draws_as_many_targets_as_it_was_made_for(kind, n_targets):
    member, x = make(kind, n_targets), torch.randn(50, N_INPUTS)
    drawn = member.sample(torch.rand(50, member.n_levels), x)
    assert drawn.shape == (50, n_targets)
    bounds = torch.full_like(drawn, -NO_BOUND), torch.full_like(drawn, NO_BOUND)
    assert torch.isfinite(member.loss(x, drawn.detach(), bounds, torch.Generator()))


@pytest.mark.parametrize("kind", [kind for kind in WITH_DENSITY if kind in JOINT])
def test_a_joint_density_is_that_of_its_draws(kind):
    """Levels invert a draw, and 1 = E[p(y) / q(y)] over draws of q, whatever p is, bounds included."""
    torch.manual_seed(0)
    member = make(kind).double()
    with torch.no_grad():  # as bent as a trained one
        for name, parameter in member.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * (not name.endswith("bias")))
    n = 1500
    tau, x = torch.rand(n, 4, dtype=torch.float64), torch.randn(1, N_INPUTS, dtype=torch.float64).expand(n, -1)
    low, high = torch.full((n, 4), -1.5, dtype=torch.float64), torch.full((n, 4), 2.0, dtype=torch.float64)
    with torch.no_grad():
        y = member.sample(tau, x, lambda k, _: (low[:, k], high[:, k]))
        levels = member.levels(y, x, (low, high))
        density = member.log_density(y, x, (low, high)).exp()
    off = (levels - tau).abs().amax(dim=1)
    assert off.quantile(0.99) < 1e-4  # except very close to a bound
    inside = ((y > low + 0.2) & (y < high - 0.2)).all(dim=1)
    share = inside.double() / density  # uniform inside, so its integral is the volume
    assert share.mean() == pytest.approx((3.5 - 0.4) ** 4, rel=0.1)
    outside = y.clone()
    outside[:, 2] = 2.5
    assert (member.log_density(outside, x, (low, high)) == -torch.inf).all()


@pytest.mark.parametrize("kind", [kind for kind in WITH_DENSITY if kind in JOINT])
def test_joint_densities_without_a_bound_have_gradients(kind):
    """They were nan, so that the most likely jet was the one to begin with."""
    x, y, (low, high) = batch(5)
    x, y, low, high = (column.double() for column in (x, y, low, high))
    low[:, 0], member = y[:, 0] - 0.5, make(kind).double()
    y.requires_grad_()
    (slope,) = torch.autograd.grad(member.log_density(y, x, (low, high)).sum(), y)
    for k in range(4):
        step = 1e-6 * torch.eye(4, dtype=torch.float64)[k]
        with torch.no_grad():
            up, down = (member.log_density(y + sign * step, x, (low, high)) for sign in (1.0, -1.0))
        torch.testing.assert_close(slope[:, k], (up - down) / 2e-6, rtol=1e-4, atol=1e-4)


def test_levels_and_densities_of_all_targets_at_once_invert_the_draw(spline_network):
    network = spline_network.double()
    tau, x = torch.rand(200, 4, dtype=torch.float64), torch.randn(200, N_INPUTS, dtype=torch.float64)
    y = network.sample(tau, x)
    torch.testing.assert_close(network.levels(y, x), tau, rtol=1e-8, atol=1e-10)
    alone = [network.density(k, y[:, k], x, y[:, :k])[1] for k in range(4)]
    torch.testing.assert_close(network.log_density(y, x), sum(alone))


@pytest.fixture
def spline_network():
    torch.manual_seed(0)
    network = SplineIQN(N_INPUTS)
    with torch.no_grad():  # as bent as a trained one
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def test_spline_quantiles_rise_with_the_level(spline_network):
    spline_network = spline_network.double()
    tau = torch.linspace(1e-6, 1 - 1e-6, 2000, dtype=torch.float64)
    context = torch.randn(1, N_INPUTS, dtype=torch.float64).expand(2000, -1)
    for k in range(4):
        q = spline_network.quantile(k, tau, context, torch.zeros(2000, k, dtype=torch.float64))
        assert (q.diff() > 0).all()


def test_spline_cdf_inverts_the_quantile(spline_network):
    spline_network = spline_network.double()
    tau, context = torch.rand(500, dtype=torch.float64), torch.randn(500, N_INPUTS, dtype=torch.float64)
    for k in range(4):
        drawn = torch.randn(500, k, dtype=torch.float64)
        y = spline_network.quantile(k, tau, context, drawn)
        torch.testing.assert_close(spline_network.density(k, y, context, drawn)[0], tau, rtol=1e-9, atol=1e-12)


def test_spline_density_is_the_slope_of_the_cdf_and_integrates_to_one(spline_network):
    spline_network = spline_network.double()
    y = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    context = torch.randn(1, N_INPUTS, dtype=torch.float64).expand(len(y), -1)
    with torch.no_grad():
        levels, log_density = spline_network.density(0, y, context, context[:, :0])
    assert torch.trapezoid(log_density.exp(), y).item() == pytest.approx(1.0, abs=1e-4)
    middle = (levels[2:] - levels[:-2]) / (y[2:] - y[:-2])
    density = log_density.exp()[1:-1]
    inside = density > 1e-6
    assert ((middle - density) / density)[inside].abs().median() < 1e-4
    assert ((middle - density) / density)[inside].abs().mean() < 1e-2


BOUNDS = [(-0.4, 0.3), (-0.4, NO_BOUND), (-NO_BOUND, 0.3), (9.0, 9.5), (-40.0, -39.0)]


def ends(n, low, high, dtype=torch.float32):
    """Repeat the same bounds for n jets."""
    return torch.full((n,), low, dtype=dtype), torch.full((n,), high, dtype=dtype)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_no_member_draws_beyond_its_bounds(member, low, high):
    n = 2000
    tau = torch.rand(n, member.n_levels).clamp(2e-7, 1.0 - 2e-7)
    drawn = member.sample(tau, torch.randn(n, N_INPUTS), lambda k, before: ends(n, low, high))
    assert ((drawn >= low) & (drawn <= high)).all()


def test_bounds_may_depend_on_what_was_drawn(member):
    def bounds(k, drawn):
        return (drawn[:, 0], drawn[:, 0] + 0.1) if k == 1 else ends(len(drawn), -NO_BOUND, NO_BOUND)

    drawn = member.sample(torch.rand(500, member.n_levels), torch.randn(500, N_INPUTS), bounds)
    assert ((drawn[:, 1] >= drawn[:, 0]) & (drawn[:, 1] <= drawn[:, 0] + 0.1)).all()


@pytest.mark.parametrize(("low", "high"), BOUNDS[:3])
def test_bounds_cut_the_law_off_and_leave_its_shape(spline_network, low, high):
    context = torch.randn(1, N_INPUTS).expand(50_000, -1)
    tau = torch.rand(50_000, generator=torch.Generator().manual_seed(0))
    free = spline_network.quantile(0, tau, context, context[:, :0])
    cut = spline_network.quantile(0, tau, context, context[:, :0], ends(50_000, low, high))
    left = free[(free > low) & (free < high)]
    levels = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(cut.quantile(levels), left.quantile(levels), rtol=0.03, atol=0.03)


@pytest.mark.parametrize(("low", "high"), BOUNDS[:4])
def test_levels_between_bounds_are_those_of_the_quantiles(spline_network, low, high):
    network = spline_network.double()
    tau, context = torch.rand(500, dtype=torch.float64), torch.randn(500, N_INPUTS, dtype=torch.float64)
    bounds = ends(500, low, high, torch.float64)
    y = network.quantile(0, tau, context, context[:, :0], bounds)
    level, log_density = network.density(0, y, context, context[:, :0], bounds)
    torch.testing.assert_close(level, tau, rtol=1e-6, atol=1e-9)
    assert torch.isfinite(log_density).all()
    for beyond, known in ((low - 0.1, 0.0), (high + 0.1, 1.0)):
        outside = torch.full_like(y, beyond)
        level, log_density = network.density(0, outside, context, context[:, :0], bounds)
        assert (level == known).all()
        assert (log_density == -torch.inf).all()


def test_levels_of_several_values_are_those_of_each():
    """Check values between, at and beyond bounds, with and without an atom at the least bound."""
    torch.manual_seed(3)
    network, x, drawn = SplineIQN(N_INPUTS, 4, atoms=[3]).eval(), torch.randn(50, N_INPUTS), torch.randn(50, 3)
    low, high = ends(50, -0.7, 0.9)
    values = torch.tensor([-0.7, -0.2, 0.4, 0.9, 2.0]).expand(50, -1)
    for k in (1, 3):
        together = network.conditional(k, x, drawn[:, :k], (low, high)).levels(values)
        for column in range(4):
            alone, _ = network.density(k, values[:, column], x, drawn[:, :k], (low, high))
            torch.testing.assert_close(together[:, column], alone, rtol=1e-5, atol=1e-6)
        assert torch.equal(together[:, 4], together[:, 3])
        assert (together.diff(dim=1) >= 0.0).all()


def test_a_bounded_density_integrates_to_one(spline_network):
    network, y = spline_network.double(), torch.linspace(-0.4, 0.3, 20_001, dtype=torch.float64)
    context = torch.randn(1, N_INPUTS, dtype=torch.float64).expand(len(y), -1)
    with torch.no_grad():
        _, log_density = network.density(0, y, context, context[:, :0], ends(len(y), -0.4, 0.3, torch.float64))
    assert torch.trapezoid(log_density.exp(), y).item() == pytest.approx(1.0, abs=1e-4)


def test_members_whose_quantiles_may_cross_have_no_cdf():
    with pytest.raises(NotImplementedError, match="may cross"):
        IQNx4(N_INPUTS).density(0, torch.zeros(1), torch.zeros(1, N_INPUTS), torch.zeros(1, 0))


@pytest.mark.parametrize("change", ["less", "more"])
def test_arrays_other_than_those_of_the_description_are_refused(member, change):
    of = Network.of(member)
    first, *rest = of.arrays
    arrays = {name: of.arrays[name] for name in rest} if change == "less" else {**of.arrays, "odd": of.arrays[first]}
    with pytest.raises(ValueError, match="expected the arrays of its description"):
        Network(of.description, arrays).module  # noqa: B018
