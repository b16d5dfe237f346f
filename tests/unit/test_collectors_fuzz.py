"""Whatever stands in a file or a dump, a collector gives valid samples or a CollectError, and nothing else."""

import contextlib
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.collectors import COLLECTORS, links, qdisc, sockets
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

FIXTURES = Path(__file__).parents[1] / "fixtures"
FIXTURE = FIXTURES / "proc-debian12-2core"
NAMES = {
    "proc-debian12-2core": ("host", "pressure", "network"),
    "proc-debian12-vm-cgroup2": ("cgroup", "process", "network"),
    "cgroup1-hybrid-kernel618": ("cgroup",),
}
FILES = [
    (tree, str(p.relative_to(FIXTURES / tree)))
    for tree in NAMES
    for p in sorted((FIXTURES / tree).rglob("*"))
    if p.is_file() and "netlink" not in p.parts
]
T = 1_700_000_000 * 10**9
LIMITS = {"u8": (0, 2**64 - 1), "u4": (0, 2**32 - 1), "i8": (-(2**63), 2**63 - 1)}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    made = {}
    for tree, names in NAMES.items():
        root = tmp_path_factory.mktemp("fuzz") / "r"
        shutil.copytree(FIXTURES / tree, root)
        made[tree] = (root, [COLLECTORS.make(n, "n", root, CollectSettings()) for n in names])
    yield made
    for _, collectors in made.values():
        for collector in collectors:
            collector.close()


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_change_of_a_file(trees, data):
    tree, name = data.draw(st.sampled_from(FILES))
    root, collectors = trees[tree]
    good = (FIXTURES / tree / name).read_bytes()
    begin = data.draw(st.integers(0, len(good)))
    length = data.draw(st.integers(0, 40))
    numbers = st.integers(-(2**70), 2**70).map(lambda n: b"%d" % n)
    middle = data.draw(
        st.one_of(st.binary(max_size=30), numbers, st.sampled_from([b" ", b"\n", b":", b"\n\n", b"nan"]))
    )
    (root / name).write_bytes(good[:begin] + middle + good[begin + length :])
    try:
        for collector in collectors:
            records = []
            with contextlib.suppress(CollectError):
                records.extend(collector.collect(T))
            for record in records:
                if isinstance(record, Sample):
                    assert len(record.values) == len(record.stream.fields)
                    for field, value in zip(record.stream.fields, record.values, strict=True):
                        low, high = LIMITS.get(field.dtype, (float("-inf"), float("inf")))
                        assert isinstance(value, float) or low <= value <= high
                        assert field.dtype.startswith("f") == isinstance(value, float)
    finally:
        (root / name).write_bytes(good)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["links", "qdiscs", "sockets"]),
    at=st.floats(0, 1),
    middle=st.binary(min_size=1, max_size=12),
)
def test_any_change_of_a_dump(name, at, middle):
    data = bytearray((FIXTURE / f"netlink/{name}.bin").read_bytes())
    position = int(at * (len(data) - len(middle)))
    data[position : position + len(middle)] = middle
    with contextlib.suppress(ValueError, IndexError, struct.error):
        if name == "links":
            list(links.parse_links(bytes(data)))
        elif name == "qdiscs":
            list(qdisc.parse_qdiscs(bytes(data)))
        else:
            sockets.parse_sockets(bytes(data), {}, [0] * 256)
