"""resctrl: what is printed reads back, and what is chosen the kernel takes, whatever other groups have."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.resctrl_kernel import Kernel, Refusal
from tests.fixtures.resctrl_machines import PROFILES, Cache
from vagus.actuators.resctrl_machine import Bandwidth, choose, widest
from vagus.actuators.resctrl_machine import Cache as Machine
from vagus.actuators.resctrl_schemata import Schemata, line_text, runs

SETTINGS = settings(max_examples=60, deadline=None)
MASKS = st.dictionaries(st.integers(0, 99), st.integers(0, (1 << 20) - 1), min_size=1, max_size=5)
LINES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("L3", "L3CODE", "L3DATA", "L2", "L2CODE", "MB", "SMBA"), MASKS)
)


@SETTINGS
@given(LINES, st.integers(0, 4), st.integers(0, 3))
def test_a_schemata_is_read_as_it_was_printed(lines: dict[str, dict[int, int]], indent: int, pad: int) -> None:
    schemata = Schemata(lines)
    assert Schemata.parse(str(schemata)) == schemata
    padded = "\n".join(" " * indent + line.replace("=", "=" + " " * pad) for line in str(schemata).splitlines())
    assert Schemata.parse(padded + "\n") == schemata


@SETTINGS
@given(st.integers(0, (1 << 24) - 1))
def test_runs_are_the_mask(mask: int) -> None:
    found = runs(mask)
    assert sum(((1 << length) - 1) << low for low, length in found) == mask
    assert all(low + length < following for (low, length), (following, _) in itertools.pairwise(found))


@st.composite
def caches(draw: st.DrawFn) -> Cache:
    bits = draw(st.integers(4, 20))
    sparse = draw(st.booleans())
    least = 1 if sparse else draw(st.integers(1, 2))
    return Cache(
        bits=bits, min_bits=least, shareable=draw(st.integers(0, (1 << bits) - 1)), sparse=sparse, domains=(0,)
    )


@SETTINGS
@given(
    caches(), st.lists(st.tuples(st.integers(0, 19), st.integers(1, 20), st.booleans()), max_size=4), st.integers(1, 20)
)
def test_the_kernel_takes_what_is_chosen(cache: Cache, others: list[tuple[int, int, bool]], ways: int) -> None:
    kernel = Kernel(replace(PROFILES["intel"], l3=cache, mb=None))
    known = Machine("L3", (1 << cache.bits) - 1, cache.min_bits, cache.shareable, cache.sparse)
    made: dict[str, int] = {}
    for number, (low, length, exclusive) in enumerate(others):
        mask = ((1 << length) - 1) << low & known.mask
        try:
            if exclusive and number == 0:
                kernel.write("/schemata", f"L3:0={known.mask & -known.mask & ~mask or mask:x}\n".encode())
            kernel.mkdir(f"/g{number}")
            kernel.write(f"/g{number}/schemata", f"L3:0={mask:x}\n".encode())
            made[f"g{number}"] = mask
            if exclusive:
                kernel.write(f"/g{number}/mode", b"exclusive\n")
        except Refusal:
            continue
    try:
        kernel.mkdir("/web")
    except Refusal:
        return  # others have everything for themselves
    forbidden, beside = 0, []
    for name, mask in made.items():
        if kernel.read(f"/{name}/mode") == "exclusive\n":
            forbidden |= mask
        else:
            beside.append(mask)
    ways = max(cache.min_bits, min(ways, cache.bits))
    mask = choose(known, ways, 0, beside, forbidden)
    if mask:
        assert mask.bit_count() == ways
        if not cache.sparse or len(runs(mask)) == 1 or cache.min_bits == 1:
            kernel.write("/web/schemata", f"L3:0={mask:x}\n".encode())
        assert Schemata.parse(kernel.read("/web/schemata")).lines["L3"] == {0: mask}
    else:
        free = [length for _, length in runs(known.mask & ~forbidden)]
        assert (sum(free) if cache.sparse else max(free, default=0)) < ways, "there is really none"
    whole = widest(known, forbidden)
    if whole.bit_count() >= cache.min_bits:
        kernel.write("/web/schemata", (line_text("L3", {0: whole}) + "\n").encode())


@SETTINGS
@given(st.sampled_from(["intel", "amd", "mbps"]), st.floats(1.0, 3e11))
def test_bandwidth_is_kept_as_foreseen(profile: str, value: float) -> None:
    kernel = Kernel(PROFILES[profile])
    made = {
        "intel": Bandwidth("MB", "percent", 10, 100, 10),
        "amd": Bandwidth("MB", "eighths", 0, 2048, 1),
        "mbps": Bandwidth("MB", "mbps", 10, (1 << 32) - 1, 10),
    }[profile]
    if profile == "intel":
        value = 10 + value % 90.5
    units = made.units(value)
    if units <= made.most:
        kernel.write("/schemata", f"MB:0={units}\n".encode())
        assert Schemata.parse(kernel.read("/schemata")).lines["MB"][0] == units
        shown = made.value(units)
        step = {"percent": 10.0, "eighths": 125e6, "mbps": float(1 << 20)}[made.unit]
        assert shown is None or abs(shown - value) <= step
