"""Bodies that the front reads, with what they may hold; whatever else they hold is somebody else's to refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgpack
import msgspec
from msgspec import Meta

from vagus.controllers.decide.features import MAX_FEATURES
from vagus.controllers.decide.outstanding import MAX_REWARD
from vagus.model import MAX_LABEL_VALUE, MAX_NAME, Reward, Scalar

MAX_MANY = 1000
UNSET = msgspec.UNSET
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
_Value = (
    Annotated[str, Meta(max_length=MAX_LABEL_VALUE)]
    | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    | float
    | bool
)


class One(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A decision that is asked for."""

    arms: list[str]
    features: dict[_Name, _Value] = {}


class Asked(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of `POST /v1/decide`, one or many. Arms and names of features are looked up before they are read."""

    arms: msgspec.Raw | msgspec.UnsetType = UNSET
    features: Annotated[dict[str, _Value], Meta(max_length=MAX_FEATURES)] | msgspec.UnsetType = UNSET
    requests: list[One] | msgspec.UnsetType = UNSET


class Packed(msgspec.Struct, forbid_unknown_fields=True):
    """The same in MessagePack."""

    arms: list[str] | msgspec.UnsetType = UNSET
    features: dict[_Name, _Value] | msgspec.UnsetType = UNSET
    requests: list[One] | msgspec.UnsetType = UNSET


class Outcome(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An outcome that is reported."""

    decision_id: str
    reward: float


class Told(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of `POST /v1/update`, one or many."""

    decision_id: str | msgspec.UnsetType = UNSET
    reward: float | msgspec.UnsetType = UNSET
    updates: list[Outcome] | msgspec.UnsetType = UNSET


class Made(msgspec.Struct, gc=False):
    """The JSON of a decision: answers.DecideAnswer, in its order."""

    decision: str
    decision_id: str
    propensity: float
    group: str
    version: int
    context: Mapping[str, Scalar]


asked_of = msgspec.json.Decoder(Asked).decode
arms_of = msgspec.json.Decoder(list[str]).decode
_told = msgspec.json.Decoder(Told).decode
encode = msgspec.json.Encoder().encode


class NotHere(Exception):
    """The request is not for the front to answer: somebody else says what is wrong with it."""


def packed_of(body: bytes) -> Packed:
    """The body of `POST /v1/decide` in MessagePack. Raises ValueError, NotHere."""
    asked = msgspec.convert(_unpack(body), Packed)
    for one in (asked, *(asked.requests or ())):
        if one.features and any(type(value) is float and not math.isfinite(value) for value in one.features.values()):
            raise NotHere
    return asked


def rewards_of(body: bytes, packed: bool, now_ns: int) -> tuple[list[Reward], bool]:
    """The body of `POST /v1/update`, and whether it is a single one. Raises NotHere."""
    try:
        told = msgspec.convert(_unpack(body), Told) if packed else _told(body)
    except (ValueError, RecursionError) as error:
        raise NotHere from error
    decision_id, outcome, many = told.decision_id, told.reward, told.updates
    if decision_id is not UNSET and outcome is not UNSET and many is UNSET:
        rewards = [Reward(decision_id, now_ns, outcome)]
    elif many is not UNSET and decision_id is UNSET and outcome is UNSET:
        rewards = [Reward(one.decision_id, now_ns, one.reward) for one in many]
    else:
        raise NotHere
    if not 1 <= len(rewards) <= MAX_MANY:
        raise NotHere
    for reward in rewards:
        if not (-MAX_REWARD <= reward.reward <= MAX_REWARD and 0 < len(reward.decision_id) <= MAX_NAME):
            raise NotHere
    return rewards, many is UNSET


def _unpack(body: bytes) -> Any:
    return msgpack.unpackb(body, strict_map_key=True, max_ext_len=0)
