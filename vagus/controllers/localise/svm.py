"""The incremental SVM of FIRM, section 3.3: which components are critical, learned from labelled injections.

As in the paper a kernel is approximated (random Fourier features of an RBF) and the linear SVM above it is trained by
stochastic gradient descent, a batch at a time. Its loss is the modified Huber, a smoothed hinge that tells probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vagus.controllers.localise import Suspect
from vagus.controllers.localise.features import Floats
from vagus.controllers.localise.signals import RESOURCES

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier

COLUMNS = (
    "ri", "log_ci", "score", "log_path_ms", "log_excess_ms", "log_gap_ms", "log_ratio", "share",
    *(f"log_{resource}" for resource in RESOURCES),
)  # fmt: skip
FOURIER = 100  # features of the kernel
GAMMA = 0.02  # of the RBF, on standardised columns
KEPT = 2_000  # labelled rows that are shown again with new ones, so that what is rare is not forgotten
LEAST = 4  # critical rows, and as many others, without which it says nothing
EPOCHS = 5
# what scikit-learn goes on from; the averages have no public name
_WEIGHTS = ("_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept", "coef_", "intercept_")


def row_of(suspect: Suspect, requests: int) -> tuple[float, ...]:
    """What the SVM sees of a suspect; COLUMNS."""
    of = suspect.features

    def log(name: str, least: float = 0.0) -> float:
        return math.log1p(max(least, of.get(name, 0.0)))

    return (
        of.get("ri", 0.0),
        math.log(max(of.get("ci", 1.0), 1e-3)),
        suspect.score,
        log("path_ms"),
        log("excess_ms"),
        log("gap_ms"),
        math.log(max(of.get("ratio", 1.0), 1e-3)),
        of.get("requests", 0.0) / max(1, requests),
        *(math.log(max(of.get(f"signal_{resource}_ratio", 1.0), 1e-3)) for resource in RESOURCES),
    )


class Svm:
    """Learns from rows (COLUMNS) and whether each is critical; state is plain lists. seed: of kernel and order."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._directions: Floats = rng.normal(0, math.sqrt(2 * GAMMA), (len(COLUMNS), FOURIER))
        self._phases: Floats = rng.uniform(0, 2 * math.pi, FOURIER)
        self._count = 0.0
        self._mean: Floats = np.zeros(len(COLUMNS))
        self._spread: Floats = np.zeros(len(COLUMNS))  # sums of squared differences from the mean
        self._rows: list[tuple[tuple[float, ...], bool]] = []
        self._seen = [0, 0]  # others, critical
        self._model: SGDClassifier | None = None

    @property
    def trained(self) -> bool:
        """Whether it has seen enough of both kinds to say something."""
        return self._model is not None and min(self._seen) >= LEAST

    def learn(self, rows: Sequence[Sequence[float]], critical: Sequence[bool]) -> None:
        """A batch of labelled rows. Raises ValueError where a row does not have COLUMNS' numbers."""
        values: Floats = np.asarray(rows, np.float64).reshape(len(rows), len(COLUMNS))
        if not np.isfinite(values).all():
            raise ValueError("a row of features has what is no number")
        if not len(values):
            return
        for value in values:  # Welford's
            self._count += 1
            delta = value - self._mean
            self._mean = self._mean + delta / self._count
            self._spread = self._spread + delta * (value - self._mean)
        labels = [bool(c) for c in critical]
        for label in labels:
            self._seen[label] += 1
        self._rows += zip(map(tuple, values.tolist()), labels, strict=True)
        if len(self._rows) > KEPT:
            self._thin()
        if min(self._seen) >= 1:
            self._train()

    def _thin(self) -> None:
        """Keep what is critical; of the others, who are many, the newest."""
        rare = [row for row in self._rows if row[1]][-KEPT // 2 :]
        others = [row for row in self._rows if not row[1]][-(KEPT - len(rare)) :]
        self._rows = rare + others

    def _train(self) -> None:
        model = self._model or self._fresh()
        values = self._kernel(np.array([row for row, _ in self._rows]))
        labels = np.array([label for _, label in self._rows])
        each = len(labels) / (2 * np.maximum(np.bincount(labels, minlength=2), 1))
        rng = np.random.default_rng((self._seed, int(self._count)))
        for _ in range(EPOCHS):
            order = rng.permutation(len(labels))
            model.partial_fit(values[order], labels[order], (False, True), each[labels[order].astype(int)])
        self._model = model

    def _fresh(self) -> SGDClassifier:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(loss="modified_huber", alpha=1e-2, average=True, random_state=self._seed)

    def _kernel(self, values: Floats) -> Floats:
        scale = np.sqrt(self._spread / max(self._count, 1.0))
        scale[scale < 1e-9] = 1.0
        standard = np.clip((values - self._mean) / scale, -8, 8)
        waves: Floats = np.sqrt(2 / FOURIER) * np.cos(standard @ self._directions + self._phases)
        return np.hstack([waves, standard / math.sqrt(len(COLUMNS))])

    def probability(self, rows: Sequence[Sequence[float]]) -> list[float | None]:
        """Of each row, of being critical; None while it is not trained."""
        if not self.trained or self._model is None or not rows:
            return [None] * len(rows)
        decided: Floats = self._model.decision_function(self._kernel(np.asarray(rows, np.float64)))
        return [float(p) for p in 1 / (1 + np.exp(-2 * np.clip(decided, -20, 20)))]

    def state(self) -> dict[str, Any]:
        """All of it, ready for JSON: what was labelled, and the model as it is."""
        model = self._model
        weights = {} if model is None else {name: np.ravel(getattr(model, name)).tolist() for name in _WEIGHTS}
        return {
            "weights": weights,
            "steps": 0.0 if model is None else float(model.t_),
            "columns": list(COLUMNS),
            "seen": list(self._seen),
            "count": self._count,
            "mean": self._mean.tolist(),
            "spread": self._spread.tolist(),
            "rows": [[list(row), label] for row, label in self._rows],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state`; one of other columns is not taken up, since its rows say something else.

        Raises KeyError, TypeError or ValueError where it is none.
        """
        if list(state["columns"]) != list(COLUMNS):
            return
        rows = [(tuple(map(float, row)), bool(label)) for row, label in state["rows"][:KEPT]]
        mean, spread = (np.asarray(state[name], np.float64).reshape(len(COLUMNS)) for name in ("mean", "spread"))
        if any(len(row) != len(COLUMNS) or not np.isfinite(row).all() for row, _ in rows):
            raise ValueError("a labelled row does not have the numbers of the columns")
        if not (
            math.isfinite(state["count"])
            and np.isfinite(mean).all()
            and np.isfinite(spread).all()
            and (spread >= 0).all()
        ):
            raise ValueError("means or spreads of the columns are no numbers")
        self._seen = [int(state["seen"][0]), int(state["seen"][1])]
        self._count, self._mean, self._spread = float(state["count"]), mean, spread
        self._rows, self._model = rows, None
        if {label for _, label in rows} == {False, True}:
            self._train()
            self._go_on_from(state.get("weights") or {}, float(state.get("steps") or 0.0))

    def _go_on_from(self, weights: Mapping[str, Any], steps: float) -> None:
        """The weights that it had: fitted anew it would be another one, worse where few rows are critical."""
        model = self._model
        if model is None or not (1.0 <= steps < math.inf) or weights.keys() != set(_WEIGHTS):
            return
        found = {}
        for name in _WEIGHTS:
            present = np.asarray(getattr(model, name))
            found[name] = np.asarray(weights[name], np.float64).reshape(present.shape)
            if not np.isfinite(found[name]).all():
                raise ValueError(f"{name} of the model holds what is no number")
        for name, value in found.items():
            setattr(model, name, value)
        model.t_ = steps
