"""Features of a request as a short vector of numbers: what linear policies see. Bounded, whatever is sent.

Place 0 is always 1. A text or boolean is one place per value, a number one place, standardised. Places are given in
order of arrival; when all are taken, further values share the last quarter, by a hash with a sign (Weinberger et al.
2009, "Feature Hashing for Large Scale Multitask Learning").
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from vagus.config import hash_text
from vagus.model import Scalar
from vagus.policies.bank import Floats

CLIP = 4.0  # standard deviations
MAX_KEY = 800  # characters; longer ones are hashed at once
MAX_NUMBER = 1e100


def text_key(name: str, value: Scalar) -> str:
    """What stands for a value of a text or boolean: no two pairs share it, whatever signs are in them."""
    return f"t{len(name)} {name}={value}"


class Place(msgspec.Struct, array_like=True):
    """What a place of the vector stands for; of a number: what is known of its values, and the scale in use."""

    key: str
    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    centre: float = 0.0
    scale: float = 1.0

    def see(self, value: float) -> None:
        """One more value of a number (Welford)."""
        self.count += 1.0
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)

    @property
    def due(self) -> bool:
        """Whether the scale is to be set anew: whenever twice as many values have been seen."""
        return self.count >= 2.0 and math.log2(self.count).is_integer()

    def spread(self) -> float:
        """Standard deviation; 1 while all values were equal."""
        return math.sqrt(self.squares / self.count) if self.squares > 0.0 else 1.0


class Encoding:
    """Which value has which place, of `dimension` places."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.given = dimension - dimension // 4  # the other places are shared
        self.places: list[Place] = []  # from place 1
        self.at: dict[str, int] = {}

    def vector(self, features: Mapping[str, Scalar]) -> Floats:
        """Of a request. Values that are not known yet count for nothing while there is room for them."""
        found = np.zeros(self.dimension)
        found[0] = 1.0
        for name, value in features.items():
            number = type(value) is int or type(value) is float
            key = f"n{name}" if number else text_key(name, value)
            at = self.at.get(key)
            if not number:
                if at is not None:
                    found[at] += 1.0
                elif len(self.places) + 1 >= self.given:
                    self._hash(found, key, 1.0)
            elif at is not None and abs(value) <= MAX_NUMBER:  # type: ignore[arg-type]
                place = self.places[at - 1]
                found[at] = min(CLIP, max(-CLIP, (float(value) - place.centre) / place.scale))
        return found

    def _hash(self, found: Floats, key: str, value: float) -> None:
        code = hash_text(key)
        shared = self.dimension - self.given
        if shared:
            found[self.given + (code >> 1) % shared] += value if code & 1 else -value

    def see(self, features: Mapping[str, Scalar]) -> list[tuple[int, float, float]]:
        """Gives places to what is new, follows numbers. Returns (place, centre, scale) where a new scale is due."""
        due = []
        for name, value in features.items():
            number = type(value) is int or type(value) is float
            key = f"n{name}" if number else text_key(name, value)
            if number and not abs(value) <= MAX_NUMBER:  # type: ignore[arg-type]
                continue
            at = self.at.get(key) or self.give(Place(key))
            if number and at:
                place = self.places[at - 1]
                place.see(float(value))
                if place.due:
                    due.append((at, place.mean, place.spread()))
        return due

    def give(self, place: Place) -> int:
        """The place that this gets; 0: there is none left."""
        if len(self.places) + 1 >= self.given or len(place.key) > MAX_KEY:
            return 0
        self.places.append(place)
        self.at[place.key] = len(self.places)
        return len(self.places)

    def rescaled(self, at: int, centre: float, scale: float) -> Floats:
        """Uses another scale for a number. Returns the matrix M of new vector = Mᵀ · old vector."""
        place, change = self.places[at - 1], np.eye(self.dimension)
        change[at, at] = place.scale / scale
        change[0, at] = (place.centre - centre) / scale
        place.centre, place.scale = centre, scale
        return change

    def taking(self, other: Encoding) -> Floats:
        """Gives places to what another knows. Returns the matrix M of our vector = Mᵀ · the other's vector."""
        change = np.zeros((self.dimension, self.dimension))
        change[0, 0] = 1.0
        for shared in range(other.given, other.dimension):
            change[shared, shared] = 1.0
        for theirs, place in enumerate(other.places, start=1):
            ours = self.at.get(place.key) or self.give(msgspec.structs.replace(place))
            if ours:
                mine = self.places[ours - 1]
                change[theirs, ours] = place.scale / mine.scale
                change[0, ours] += (place.centre - mine.centre) / mine.scale
            elif place.key.startswith("t"):
                self._hash(change[theirs], place.key, 1.0)
        return change
