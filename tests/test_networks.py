from __future__ import annotations

import numpy as np
import pytest
import torch

from coffea_iqn.networks import MEMBERS, IQNx4, build, pinball_loss

N_CONTEXT = 3


@pytest.fixture(params=list(MEMBERS))
def network(request):
    torch.manual_seed(0)
    return build({"type": request.param, "n_context": N_CONTEXT})


def test_quantile_and_sample_shapes(network):
    tau, context = torch.rand(7, 4), torch.randn(7, N_CONTEXT)
    assert network.sample(tau, context).shape == (7, 4)
    for k in range(4):
        assert network.quantile(k, tau[:, k], context, torch.randn(7, k)).shape == (7,)


def test_sample_draws_each_target_given_the_draws_before(network):
    tau, context = torch.rand(5, 4), torch.randn(5, N_CONTEXT)
    drawn = network.sample(tau, context)
    for k in range(4):
        torch.testing.assert_close(drawn[:, k], network.quantile(k, tau[:, k], context, drawn[:, :k]))


def test_later_levels_do_not_reach_earlier_targets(network):
    tau, context = torch.rand(5, 4), torch.randn(5, N_CONTEXT)
    changed = tau.clone()
    changed[:, 2] = 1.0 - changed[:, 2]
    torch.testing.assert_close(network.sample(tau, context)[:, :2], network.sample(changed, context)[:, :2])


def test_gradient_reaches_every_parameter(network):
    loss = network.loss(torch.randn(64, N_CONTEXT), torch.randn(64, 4), torch.Generator().manual_seed(1))
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith(".bias"):
            assert parameter.grad.abs().max() > 0, name


def test_description_rebuilds_the_network(network):
    again = build(network.description())
    again.load_state_dict(network.state_dict())
    tau, context = torch.rand(4, 4), torch.randn(4, N_CONTEXT)
    torch.testing.assert_close(again.sample(tau, context), network.sample(tau, context))


def test_loss_is_a_function_of_its_generator(network):
    context, target = torch.randn(16, N_CONTEXT), torch.randn(16, 4)
    first, second, other = (network.loss(context, target, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_loss_without_gradients_is_finite(network):
    with torch.no_grad():
        assert torch.isfinite(network.loss(torch.randn(8, N_CONTEXT), torch.randn(8, 4), torch.Generator()))


def test_a_trained_network_gives_the_quantiles_of_a_known_law(network):
    torch.manual_seed(1)
    context = torch.randn(4096, N_CONTEXT)
    target = context[:, :1] + torch.randn(4096, 4)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        optimiser.zero_grad()
        rows = torch.randint(4096, (512,), generator=generator)
        network.loss(context[rows], target[rows], generator).backward()
        optimiser.step()
    with torch.no_grad():
        drawn = network.sample(torch.rand(20_000, 4), torch.zeros(20_000, N_CONTEXT))
    assert drawn[:, 0].mean() == pytest.approx(0.0, abs=0.15)
    assert drawn[:, 0].std() == pytest.approx(1.0, abs=0.2)


def test_papers_size():
    network = build({"type": "IQNx4", "n_context": 4})
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
    context, target = torch.randn(256, N_CONTEXT), torch.randn(256, 4)
    free, strict = (IQNx4(N_CONTEXT, penalty=penalty) for penalty in (0.0, 100.0))
    strict.load_state_dict(free.state_dict())
    losses = [net.loss(context, target, torch.Generator().manual_seed(1)) for net in (free, strict)]
    assert losses[1] > losses[0]  # fresh weights make half of all slopes negative


@pytest.mark.parametrize(
    "description",
    [{}, {"type": "MLP", "n_context": 3}, {"type": "IQNx4"}, {"type": "IQNx4", "n_context": 3, "depth": 2}],
)
def test_wrong_descriptions_are_refused(description):
    with pytest.raises(ValueError, match="network"):
        build(description)
