"""Kubernetes' quantities: what is printed reads back exactly, and every text means what the official client says."""

from __future__ import annotations

from decimal import Context, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.undo.quantity import cores, parse, size

SUFFIXES = [
    "",
    "n",
    "u",
    "m",
    "k",
    "M",
    "G",
    "T",
    "P",
    "E",
    "Ki",
    "Mi",
    "Gi",
    "Ti",
    "Pi",
    "Ei",
    "e3",
    "E3",
    "e-2",
    "e+06",
]


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 10**7))
def test_cores_read_back_to_the_thousandth(thousandths: int) -> None:
    text = cores(thousandths / 1000)
    assert parse(text) == Fraction(thousandths, 1000)
    assert text.rstrip("m").isdigit(), "as the server prints it"


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 1 << 52), st.sampled_from([1, 1 << 10, 1 << 20, 1 << 30]))
def test_bytes_read_back_exactly(number: int, unit: int) -> None:
    value = (number // unit) * unit
    assert parse(size(value)) == value


@settings(deadline=None, max_examples=100)
@given(st.decimals(0, 10**9, places=3, allow_nan=False), st.sampled_from(SUFFIXES), st.sampled_from(["", "+", "-"]))
def test_a_text_means_what_the_official_client_says(number: object, suffix: str, sign: str) -> None:
    official = pytest.importorskip("kubernetes.utils.quantity").parse_quantity
    text = f"{number:f}{suffix}"
    with localcontext(Context(prec=60)):  # in Python's usual 28 digits the client rounds
        meant = Fraction(official(text))
    assert parse(sign + text) == (-meant if sign == "-" else meant)


@pytest.mark.parametrize(
    "text", ["", "m", "1 Gi", "1gi", "1KB", "0x10", "1e", "--1", "1e1000", "1Mi ", "١", "1" * 65, "nan"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse(text)


def test_they_are_printed_as_people_write_them() -> None:
    assert [cores(v) for v in (0.5, 2.0, 1.25, 0.0004)] == ["500m", "2", "1250m", "0"]
    assert [size(v) for v in (0, 1000, 1024, 128 << 20, (128 << 20) + 0.7, 3 << 30)] == [
        "0",
        "1000",
        "1Ki",
        "128Mi",
        "128Mi",
        "3Gi",
    ]
