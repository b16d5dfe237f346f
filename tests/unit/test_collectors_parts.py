"""Collectors made of parts: each fails alone, and one that is read seldom does not flap."""

import pytest

from vagus.collectors.parts import Every, read_parts
from vagus.errors import CollectError
from vagus.model import Field, Sample, Stream

NS = 10**9
T = 1_700_000_000 * NS
STREAM = Stream("n", "some.kind", (Field("value"),))


class Counted:
    """A part that counts its readings, and fails when told to."""

    source = "counted"

    def __init__(self):
        self.readings, self.fails, self.closed = 0, False, False

    def read(self, t_ns):
        self.readings += 1
        yield Sample(STREAM, t_ns, (float(self.readings),))
        if self.fails:
            raise CollectError("it is broken")

    def close(self):
        self.closed = True


def test_a_part_that_is_read_seldom():
    part = Counted()
    seldom = Every(5 * NS, part)
    assert seldom.source == "counted"
    assert [len(list(seldom.read(T + k * NS))) for k in range(11)] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert len(list(seldom.read(T - 1000 * NS))) == 1  # wall time stepped back
    seldom.close()
    assert part.closed


def test_a_part_that_fails_does_so_at_every_tick_until_it_is_well():
    part, other = Counted(), Counted()
    part.fails = True
    seldom = Every(5 * NS, part)
    for k in range(3):
        with pytest.raises(CollectError, match="it is broken"):
            list(read_parts([seldom, other], T + k * NS))
    assert (part.readings, other.readings) == (3, 3)
    part.fails = False
    assert len(list(read_parts([seldom, other], T + 3 * NS))) == 2
    assert len(list(read_parts([seldom, other], T + 4 * NS))) == 1
