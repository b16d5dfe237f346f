"""Networks against torch: gradients, Adam, and whole updates of DDPG."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.policies.ddpg import DDPG
from vagus.policies.networks import Adam, Pass, Shape, Weights

torch = pytest.importorskip("torch", reason="torch is not installed: pip install vagus[dev]")
torch.set_num_threads(1)  # small things: waiting for each other costs more

Shapes = st.builds(
    lambda inputs, layers, side, joins, tanh: Shape(inputs, tuple(layers), side, joins % len(layers), tanh),
    st.integers(1, 9),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
)


def run(shape: Shape, flat: Any, inputs: Any, side: Any) -> Any:
    """The same network in torch: inputs (n, inputs), side (n, side) to (n, outputs)."""
    at, x = 0, inputs
    for layer, (out, fan) in enumerate(zip(shape.layers, shape.fans(), strict=True)):
        block = flat[at : at + out * (fan + 1)].reshape(out, fan + 1)
        at += out * (fan + 1)
        if layer == shape.joins:
            x = torch.cat([x, side], 1)
        x = torch.nn.functional.linear(x, block[:, :-1], block[:, -1])
        if layer < len(shape.layers) - 1:
            x = torch.relu(x)
    return torch.tanh(x) if shape.tanh else x


@given(Shapes, st.integers(1, 17), st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_outputs_and_gradients_are_those_of_autograd(shape: Shape, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flat, gradient = np.zeros((2, shape.size()), np.float32)
    shape.begin(flat, rng, 0.0)
    weights, slopes, through = Weights(shape, flat), Weights(shape, gradient), Pass(shape, n)
    through.inputs[:] = rng.standard_normal(through.inputs.shape)
    through.side[:] = rng.standard_normal(through.side.shape)
    outward = rng.standard_normal(through.slope.shape).astype(np.float32)

    t_flat = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
    t_inputs = torch.tensor(through.inputs.T.astype(np.float64))
    t_side = torch.tensor(through.side.T.astype(np.float64), requires_grad=True)
    expected = run(shape, t_flat, t_inputs, t_side)
    (expected * torch.tensor(outward.T.astype(np.float64))).sum().backward()

    np.testing.assert_allclose(through.forward(weights), expected.detach().numpy().T, rtol=1e-4, atol=1e-5)
    through.slope[:] = outward
    through.backward(weights, slopes)
    np.testing.assert_allclose(gradient, t_flat.grad.numpy(), rtol=1e-3, atol=1e-4)
    if shape.side:
        through.slope[:] = outward
        np.testing.assert_allclose(through.aside(weights), t_side.grad.numpy().T, rtol=1e-3, atol=1e-4)


def test_adam_is_torchs() -> None:
    rng = np.random.default_rng(0)
    flat, gradient = rng.standard_normal((2, 50)).astype(np.float32)
    ours = Adam(flat, gradient, 1e-2)
    its = torch.tensor(flat.astype(np.float64), requires_grad=True)
    theirs = torch.optim.Adam([its], lr=1e-2)
    for step in range(400):
        gradient[:] = rng.standard_normal(50) * 10.0 ** rng.integers(-6, 4, 50)
        gradient[: step % 7] = 0.0
        its.grad = torch.tensor(gradient.astype(np.float64))
        theirs.step()
        ours.step()
    np.testing.assert_allclose(flat, its.detach().numpy(), rtol=1e-4, atol=2e-5)


def test_moments_that_fade_do_not_become_denormal() -> None:
    flat, gradient = np.zeros((2, 4), np.float32)
    adam = Adam(flat, gradient, 1e-3)
    gradient[:2] = 1.0
    adam.step()
    gradient[:] = 0.0
    for _ in range(1024):
        adam.step()
    assert not adam.mean.any()  # 0.9^1024 is below the smallest normal number
    assert (adam.square[:2] > 0.3).all()


@pytest.mark.parametrize(
    "hyper",
    [{}, {"joins": 0}, {"joins": 2}, {"critics": 2, "critic_layers": (16,)}, {"batch": 7, "actor_layers": (5,)}],
)
def test_updates_are_those_of_a_ddpg_in_torch(hyper: dict[str, Any]) -> None:
    model = DDPG(
        3, 2, 1, **{"tau": 0.05, "actor_rate": 1e-3, "critic_rate": 1e-3, "final": 0.0, "gamma": 0.95, **hyper}
    )
    rng = np.random.default_rng(5)
    rows = rng.uniform(-1, 1, (300, 10)).astype(np.float32)
    rows[:, -1] = rng.random(300) < 0.2
    model.remember_all(rows)
    h = model.hyper
    shapes = [model._actor.shape, *[critic.shape for critic in model._critics]]
    nets = [torch.tensor(model._flat[span].astype(np.float64), requires_grad=True) for span in model._spans]
    targets = [net.detach().clone() for net in nets]
    optimisers = [torch.optim.Adam([net], lr=1e-3) for net in nets]
    data = torch.tensor(rows.astype(np.float64))
    none = torch.zeros(h.batch, 0, dtype=torch.float64)
    for _ in range(20):
        batch = data[copy.deepcopy(model._rng).integers(300, size=h.batch)]
        model.learn()
        s, a, r, after, done = batch[:, :3], batch[:, 3:5], batch[:, 5:6], batch[:, 6:9], batch[:, 9:]
        with torch.no_grad():
            follow = run(shapes[0], targets[0], after, none)
            values = [run(shape, t, after, follow) for shape, t in zip(shapes[1:], targets[1:], strict=True)]
            wanted = r + h.gamma * (1 - done) * torch.stack(values).min(0).values
        for at in range(1, len(nets)):
            optimisers[at].zero_grad()
            torch.nn.functional.mse_loss(run(shapes[at], nets[at], s, a), wanted).backward()
            optimisers[at].step()
        optimisers[0].zero_grad()
        (-run(shapes[1], nets[1], s, run(shapes[0], nets[0], s, none))).mean().backward()
        optimisers[0].step()
        with torch.no_grad():
            for net, target in zip(nets, targets, strict=True):
                target += h.tau * (net - target)
    np.testing.assert_allclose(model._flat, torch.cat(nets).detach().numpy(), rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(model._target, torch.cat(targets).numpy(), rtol=1e-3, atol=1e-4)
