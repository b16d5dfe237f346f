"""Any file is a configuration or a ConfigError; what is made is read back as it was meant."""

from __future__ import annotations

import json
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.errors import ConfigError
from vagus.health.instances import Panorama, instance_of, make_peers, panorama_json

KEYS = [*Panorama.__struct_fields__, "Extra"]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(string.ascii_letters + string.digits + "_.-@ *[]é", min_size=1, max_size=20)


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=200) | st.dictionaries(st.sampled_from(KEYS), ANY).map(lambda d: json.dumps(d).encode()))
def test_any_bytes_are_a_configuration_or_an_error(data: bytes) -> None:
    try:
        found = instance_of(data, "f", "me", "h:1")
    except ConfigError:
        return
    assert found.peers["me"] == ("h", 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(0, 60_000), st.lists(NAMES, unique=True, max_size=5))
def test_what_is_made_is_read_back(count: int, first: int, subjects: list[str]) -> None:
    peers = make_peers(count, "n%d", "h%d", first, 7000)
    made = Panorama(Id=f"n{first}", Addr=peers[f"n{first}"], Peers=peers, Subjects=tuple(subjects))
    found = instance_of(panorama_json(made), "f")
    assert found.node == f"n{first}"
    assert found.peers == {f"n{n}": (f"h{n}", 7000) for n in range(first, first + count)}
    assert len(found.config.health.watch) == len(subjects)
