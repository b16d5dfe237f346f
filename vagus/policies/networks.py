"""Small dense networks in float32: forwards, backwards by hand, Adam; everything in place over flat vectors.

A layer is one block of the vector, (outputs, inputs + 1): the last column is the bias, since inputs carry a row of ones.
Batches are columns: activations are (features + 1, n), so that each step is one call on contiguous memory. Between layers
ReLU, at the end nothing or tanh. `side` inputs (a critic's action) come in at layer `joins`.

Adam: Kingma and Ba (2015), algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
TINY = np.float32(1e-30)  # moments below it become 0: denormal numbers are many times slower
SWEEP = 128  # steps between looking for them


class Shape(NamedTuple):
    """A network: its inputs, the sizes of its layers (the last is the output), and what comes in beside a hidden layer.

    joins: the layer that gets the `side` inputs besides what it has: 0 the first, at most the last.
    """

    inputs: int
    layers: tuple[int, ...]
    side: int = 0
    joins: int = 0
    tanh: bool = False

    def fans(self) -> list[int]:
        """Inputs of each layer, without the row of ones."""
        before = (self.inputs, *self.layers[:-1])
        return [count + (self.side if at == self.joins else 0) for at, count in enumerate(before)]

    def size(self) -> int:
        """Numbers of its vector."""
        return sum(out * (fan + 1) for out, fan in zip(self.layers, self.fans(), strict=True))

    def blocks(self, flat: Floats) -> list[Floats]:
        """Its layers, (outputs, inputs + 1), as views of a vector of `size()` numbers."""
        found, at = [], 0
        for out, fan in zip(self.layers, self.fans(), strict=True):
            found.append(flat[at : at + out * (fan + 1)].reshape(out, fan + 1))
            at += out * (fan + 1)
        return found

    def begin(self, flat: Floats, rng: np.random.Generator, final: float) -> None:
        """Fresh weights, even within ±1/√inputs, in the last layer within ±final (Lillicrap et al. 2016); 0: as the rest."""
        blocks = self.blocks(flat)
        for at, block in enumerate(blocks):
            bound = final if final and block is blocks[-1] else 1.0 / math.sqrt(block.shape[1] - 1)
            block[:] = rng.uniform(-bound, bound, block.shape)
            if self.side and at == self.joins > 0 and block is not blocks[-1]:
                # as if they were a layer's only inputs: a few beside many are not heard for long, and the actor misled
                few = block[:, -1 - self.side : -1]
                few[:] = rng.uniform(-1.0, 1.0, few.shape) / math.sqrt(self.side)


class Weights:
    """A network's layers and their transposes as views of its vector, prepared once."""

    __slots__ = ("aside", "back", "flat", "layers", "shape")

    def __init__(self, shape: Shape, flat: Floats) -> None:
        self.shape, self.flat = shape, flat
        self.layers = shape.blocks(flat)
        hidden = [0, *shape.layers[:-1]]
        self.back = [layer[:, :count].T for layer, count in zip(self.layers, hidden, strict=True)]
        first = shape.layers[shape.joins - 1] if shape.joins else shape.inputs
        self.aside = self.layers[shape.joins][:, first : first + shape.side].T


class Pass:
    """Buffers of one batch of n going through networks of a shape, forwards and back.

    `inputs` (inputs, n) and `side` (side, n) are written by the caller; `output` (outputs, n) is read after `forward`;
    `slope` (outputs, n), the loss by the output, is written before `backward`. All are views that stay valid.
    """

    __slots__ = (
        "_given",
        "_hidden",
        "_signs",
        "_slopes",
        "_tanh",
        "_turned",
        "inputs",
        "output",
        "shape",
        "side",
        "side_slope",
        "slope",
    )

    def __init__(self, shape: Shape, n: int) -> None:
        self.shape = shape
        self._given = [np.ones((fan + 1, n), np.float32) for fan in shape.fans()]  # the last row stays 1
        self._turned = [given.T for given in self._given]
        self._hidden = [given[:out] for given, out in zip(self._given[1:], shape.layers, strict=False)]
        self._signs = [np.empty((out, n), np.float32) for out in shape.layers]
        self._slopes = [np.empty((out, n), np.float32) for out in shape.layers]
        first = shape.layers[shape.joins - 1] if shape.joins else shape.inputs
        self.inputs = self._given[0][: shape.inputs]
        self.side = self._given[shape.joins][first : first + shape.side]
        self.output = np.empty((shape.layers[-1], n), np.float32)
        self.slope = self._slopes[-1]
        self.side_slope = np.empty((shape.side, n), np.float32)
        self._tanh = shape.tanh

    def forward(self, weights: Weights) -> Floats:
        """`output`, of `inputs` and `side`."""
        layers = weights.layers
        for at, hidden in enumerate(self._hidden):
            np.dot(layers[at], self._given[at], out=hidden)
            np.maximum(hidden, 0.0, out=hidden)
        np.dot(layers[-1], self._given[-1], out=self.output)
        if self._tanh:
            np.tanh(self.output, out=self.output)
        return self.output

    def backward(self, weights: Weights, gradient: Weights) -> None:
        """From `slope` after `forward`: the loss by each weight, summed over the batch, into `gradient`. Spoils `slope`."""
        self._end()
        for at in range(len(self._slopes) - 1, -1, -1):
            np.dot(self._slopes[at], self._turned[at], out=gradient.layers[at])
            if at:
                self._through(weights, at)

    def aside(self, weights: Weights) -> Floats:
        """From `slope` after `forward`: the loss by each side input, (side, n). Spoils `slope`."""
        self._end()
        for at in range(len(self._slopes) - 1, self.shape.joins, -1):
            self._through(weights, at)
        return np.dot(weights.aside, self._slopes[self.shape.joins], out=self.side_slope)

    def _end(self) -> None:
        if self._tanh:  # d tanh = 1 - tanh²
            sign = self._signs[-1]
            np.multiply(self.output, self.output, out=sign)
            np.subtract(1.0, sign, out=sign)
            np.multiply(self.slope, sign, out=self.slope)

    def _through(self, weights: Weights, at: int) -> None:
        """From the slope of layer `at` to that of the layer before, through its ReLU."""
        slope, sign = self._slopes[at - 1], self._signs[at - 1]
        np.dot(weights.back[at], self._slopes[at], out=slope)
        np.sign(self._hidden[at - 1], out=sign)  # 0 or 1: after ReLU
        np.multiply(slope, sign, out=slope)


class Adam:
    """Steps down a gradient: `flat` -= rate · mean / (√square + eps), both corrected for their start at 0.

    The moments (`mean`, `square`: vectors like `flat`) are kept undivided, Σ β1^k g and Σ β2^k g²: fewer calls a step.
    """

    __slots__ = ("_flat", "_gradient", "_work", "eps", "mean", "rate", "square", "steps")

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, flat: Floats, gradient: Floats, rate: float, eps: float = 1e-8) -> None:
        self._flat, self._gradient = flat, gradient
        self._work = np.empty_like(flat)
        self.mean, self.square = np.zeros_like(flat), np.zeros_like(flat)
        self.rate, self.eps, self.steps = rate, eps, 0

    def step(self) -> None:
        """One step by the gradient as it stands in its vector."""
        self.steps += 1
        mean, square, work, gradient = self.mean, self.square, self._work, self._gradient
        root = math.sqrt((1.0 - self.BETA2**self.steps) / (1.0 - self.BETA2))
        np.multiply(mean, self.BETA1, out=mean)
        np.add(mean, gradient, out=mean)
        np.multiply(gradient, gradient, out=work)
        np.multiply(square, self.BETA2, out=square)
        np.add(square, work, out=square)
        np.sqrt(square, out=work)
        np.add(work, self.eps * root, out=work)
        np.divide(mean, work, out=work)
        np.multiply(work, self.rate * root * (1.0 - self.BETA1) / (1.0 - self.BETA1**self.steps), out=work)
        np.subtract(self._flat, work, out=self._flat)
        if not self.steps % SWEEP:
            for moment in (mean, square):
                moment[np.abs(moment) < TINY] = 0.0

    def begin(self) -> None:
        """As new."""
        self.mean[:] = self.square[:] = 0.0
        self.steps = 0


def drawn(target: Floats, source: Floats, share: float, work: Floats) -> None:
    """Polyak's averaging in place: target += share · (source - target). work: a vector like them."""
    np.subtract(source, target, out=work)
    np.multiply(work, share, out=work)
    np.add(target, work, out=target)


def actor_shape(state_dim: int, action_dim: int, layers: Sequence[int]) -> Shape:
    """States to actions in [-1, 1]."""
    return Shape(state_dim, (*layers, action_dim), tanh=True)


def critic_shape(state_dim: int, action_dim: int, layers: Sequence[int], joins: int) -> Shape:
    """States and actions to a value; actions come in at layer `joins`."""
    return Shape(state_dim, (*layers, 1), side=action_dim, joins=joins)
