"""correctionlib with a network: a hash of event and jet gives a level, and the level gives the response.

The node `lwtnn`, available since correctionlib 2.9, evaluates dense layers (D. H. Guest et al., lwtnn). A small network
learns from the bundle, in about a minute, the law of the response given pt, |eta| and flavour, averaged over the
reference jets. Beyond the |eta| up to which reference jets have a flavour, that flavour counts as unknown, because the
network would extrapolate. Its outputs are the coefficients of a quantile function that is monotone by construction::

    log response = m + exp(s_0) z + sum_j exp(s_j) tanh((z - z_j) / w),     z = log(tau / (1 - tau))

The level passes through the network unchanged, in one extra unit per layer, because the final formula has access only
to the outputs of the network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coffea_iqn.exports import corrections as c
from coffea_iqn.exports.reference import FLAVOURS, Reference, Z
from coffea_iqn.iqn.networks import mlp
from coffea_iqn.jets.features import ETA, PT
from coffea_iqn.numerics.arrays import Floats
from coffea_iqn.training.optimise import fit, fixed_weights
from coffea_iqn.training.recipes import Schedule

HIDDEN, SLOPE = (32, 32, 32), 0.1
BUMPS, WIDTH = (-6.5, -4.5, -3.0, -1.8, -0.6, 0.6, 1.8, 3.0, 4.5, 6.5), 1.2  # z_j and w
N_CURVE = 2 + len(BUMPS)  # coefficients of a curve; the logit of the efficiency comes after them
SCALES = {"JetPt": (-4.5, 0.8), "JetEta": (-2.0, 0.7)}  # offset and scale of log pt and |eta|
SHIFT = 16.0  # keeps z positive, where LeakyReLU is the identity
N_LEVELS = 2  # levels per jet in a batch
LEAST_WEIGHT = 5e-3  # lower limit of tau (1 - tau) in the weight of a level
LEAST = 25  # minimum number of jets of a flavour at higher |eta|, for the flavour to be used
BLIND = 0.3  # fraction of jets trained with unknown flavour
SETTINGS = Schedule(steps=6000, batch_size=1024, learning_rate=1e-2, weight_decay=0.0, check_every=500, seed=1)
ENTROPY = ("seed", "run", "luminosityBlock", "event", "jet")  # inputs of the random number of a jet


class Compact(nn.Module):
    """Small network for the coefficients of the curve and the logit of the efficiency, (N, 13)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(len(SCALES) + len(FLAVOURS) + 1, N_CURVE + 1, HIDDEN, SLOPE)
        self.register_buffer("bumps", torch.tensor(BUMPS), persistent=False)
        self.bumps: Tensor
        with torch.no_grad():
            *_, bias = self.net.parameters()
            bias[1:N_CURVE] = -4.0  # a resolution of some per cent

    def log_response(self, out: Tensor, z: Tensor) -> Tensor:
        """Return the log response for outputs (N, 13) at logits (N, levels)."""
        steps = torch.exp(out[:, 1:N_CURVE])[:, None]  # (N, 1, 11)
        shapes = torch.cat([z[..., None], torch.tanh((z[..., None] - self.bumps) / WIDTH)], dim=2)
        return out[:, :1] + (steps * shapes).sum(dim=2)


def learn(jets: Reference, curves: Floats, efficiency: Floats | None) -> Compact:
    """Train a network on the laws of the reference jets, with the seed of `SETTINGS`.

    The loss is the pinball loss, averaged over the law of each jet instead of over draws; levels are uniform in their
    logit.
    """
    z_of_curve = torch.from_numpy(Z)
    between = torch.cat([torch.zeros(1), torch.sigmoid(0.5 * (z_of_curve[1:] + z_of_curve[:-1])), torch.ones(1)])
    share = between.diff().to(torch.float32)  # probability that each point of a curve represents
    kinematics, law = _kinematics(jets), torch.from_numpy(curves)
    known = torch.eye(len(FLAVOURS) + 1)[jets.flavour]  # the last column is for unknown flavour, −1
    found = torch.from_numpy(np.ones(len(curves), dtype=np.float32) if efficiency is None else efficiency)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        told = known[rows].clone()
        blind = torch.rand(len(rows), generator=generator) < BLIND
        told[blind] = torch.eye(len(FLAVOURS) + 1)[-1]
        out = network.net(torch.cat([kinematics[rows], told], dim=1))
        z = Z[-1] * (2.0 * torch.rand(len(rows), N_LEVELS, generator=generator) - 1.0)
        tau = torch.sigmoid(z)
        error = law[rows][:, None] - network.log_response(out, z)[..., None]  # (batch, levels, 47)
        pinball = (torch.maximum(tau[..., None] * error, (tau[..., None] - 1.0) * error) * share).sum(dim=2)
        weight = 1.0 / (tau * (1.0 - tau)).clamp(min=LEAST_WEIGHT)
        return (weight * pinball).mean() + functional.binary_cross_entropy_with_logits(out[:, -1], found[rows])

    def check() -> Tensor:
        return loss(torch.arange(0, len(law), 7), torch.Generator().manual_seed(0))

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(law), (n,), generator=generator)

    with fixed_weights(SETTINGS.seed):
        network = Compact()
    fit("compact", network, loss, check, draw, SETTINGS)
    return network.eval()


def content(ends: tuple[str, str], network: Compact, jets: Reference, *, with_efficiency: bool) -> dict[str, Any]:
    """Return the corrections of a network, without a description.

    Parameters
    ----------
    ends: prefix and suffix of the names of corrections, see `binned.content`.
    network: the trained network.
    jets: jets of the training; pt and |eta| beyond their range are evaluated at its ends, and flavours beyond
        `known_up_to` as unknown.
    with_efficiency: whether to include the efficiency.
    """
    low, high = float(jets.gen[:, PT].min()), float(jets.gen[:, PT].max())
    log_pt = c.formula(f"log(max({low:.4f},min({high:.4f},x)))", "JetPt")
    abs_eta = c.formula(f"min({np.abs(jets.gen[:, ETA]).max():.4f},abs(x))", "JetEta")
    (begin, end), jet = ends, ("JetPt", "JetEta", "JetFlavour")
    shapes = [f"exp(x[{k + 2}])*tanh((x[{N_CURVE + 1}]{-at:+g})/{WIDTH:g})" for k, at in enumerate(BUMPS)]
    response = f"exp(x[0]+exp(x[1])*x[{N_CURVE + 1}]+{'+'.join(shapes)})"

    coded = [
        c.within(edge, float(codes[0])) if edge else 0.0
        for edge, codes in zip(known_up_to(jets), FLAVOURS.values(), strict=True)
    ]
    known = c.by_flavour([*coded, 0.0])

    def tree(level: str | None, finalizer: str) -> dict[str, Any]:
        by_flavour = c.by_flavour([_node(network, k, level, finalizer) for k in range(len(FLAVOURS) + 1)])
        of_known = c.transformed("JetFlavour", known, by_flavour)
        return c.transformed("JetPt", log_pt, c.transformed("JetEta", abs_eta, of_known))

    hashed = {"nodetype": "hashprng", "inputs": list(ENTROPY), "distribution": "stdflat"}
    every = [
        c.correction(
            f"{begin}_Quantile_{end}", (*jet, "tau"), "response", "Quantile of reco pt over gen pt at level tau.",
            c.with_logit("tau", tree("tau", response)),
        ),
        c.correction(
            f"{begin}_Draw_{end}", (*jet, *ENTROPY), "response",
            "Random reco pt over gen pt: the quantile at a level that is a hash of seed, event and jet.",
            c.transformed("seed", hashed, c.with_logit("seed", tree("seed", response))),
        ),
    ]  # fmt: skip
    if with_efficiency:
        every.append(
            c.correction(
                f"{begin}_Efficiency_{end}", jet, "probability", "P(a reco jet is matched to the gen jet).",
                tree(None, f"1/(1+exp(-x[{N_CURVE}]))"),
            )
        )  # fmt: skip
    return {"schema_version": 2, "corrections": every}


def known_up_to(jets: Reference) -> list[float]:
    """Return the |eta| from which on fewer than `LEAST` jets have each of FLAVOURS, 0 if so everywhere."""
    abs_eta = (np.sort(np.abs(jets.gen[jets.flavour == number, ETA])) for number in range(len(FLAVOURS)))
    return [c.rounded(float(of_one[-LEAST])) if len(of_one) >= LEAST else 0.0 for of_one in abs_eta]


def _kinematics(jets: Reference) -> Tensor:
    """Return the scaled log pt and |eta| of jets."""
    columns = np.log(jets.gen[:, PT]), np.abs(jets.gen[:, ETA])
    scaled = [(x + offset) * scale for x, (offset, scale) in zip(columns, SCALES.values(), strict=True)]
    return torch.from_numpy(np.stack(scaled, axis=1).astype(np.float32))


def _node(network: Compact, flavour: int, level: str | None, finalizer: str) -> dict[str, Any]:
    """Return the network node for one flavour, absorbed in the first bias, with an extra unit if there is a level."""
    dense = [
        tuple(p.detach().double().numpy() for p in m.parameters()) for m in network.net if isinstance(m, nn.Linear)
    ]
    n = len(SCALES)
    weight, bias = dense[0]
    dense[0] = weight[:, :n], bias + weight[:, n + flavour]
    layers = []
    for k, (weight, bias) in enumerate(dense):
        last = k == len(dense) - 1
        weights, biases = weight, bias
        if level is not None:
            weights, biases = np.pad(weight, ((0, 1), (0, 1))), np.append(bias, SHIFT * ((k == 0) - last))
            weights[-1, -1] = 1.0
        layers.append(
            {
                "architecture": "dense",
                "weights": [c.rounded(x) for x in weights.ravel()],
                "bias": [c.rounded(x) for x in biases],
                "activation": "linear" if last else {"function": "leakyrelu", "alpha": SLOPE},
            }
        )
    named = [{"name": name, "offset": offset, "scale": scale} for name, (offset, scale) in SCALES.items()]
    if level is not None:
        named.append({"name": level, "offset": 0.0, "scale": 1.0})
    outputs = [f"y{number}" for number in range(len(layers[-1]["bias"]))]
    opaque = {"inputs": named, "layers": layers, "outputs": outputs}
    return {"nodetype": "lwtnn", "opaque": opaque, "finalizer": c.formula(finalizer, *outputs)}
