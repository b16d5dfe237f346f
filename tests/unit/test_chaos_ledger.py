"""The ledger of what was acknowledged: what is lost, changed, there twice, or never sent."""

from __future__ import annotations

import pytest

from benchmarks.chaos_ledger import BYTES, REPORT, SAMPLE, Ledger, Outcome

A, B, C, D = (("n1", number) for number in range(4))


@pytest.fixture
def ledger() -> Ledger:
    """A and B are acknowledged, C was sent without an answer, D was refused."""
    ledger = Ledger()
    ledger.sending(SAMPLE, {A: 1, B: 2, C: 3, D: 4})
    ledger.acknowledged(SAMPLE, [A, B])
    ledger.refused(SAMPLE, [D])
    return ledger


def test_all_is_there(ledger: Ledger) -> None:
    found = ledger.compare(SAMPLE, [(A, 1), (B, 2)])
    assert found == Outcome(2, 1, (), (), (), 0, ())


def test_what_was_acknowledged_and_is_not_there_is_lost_and_nothing_else(ledger: Ledger) -> None:
    assert ledger.compare(SAMPLE, [(B, 2)]).lost == (A,)
    assert ledger.compare(SAMPLE, []).lost == (A, B)
    assert ledger.compare(SAMPLE, [(A, 1), (B, 2)]).lost == (), "C may be there or not"


def test_what_had_no_answer_may_be_there(ledger: Ledger) -> None:
    found = ledger.compare(SAMPLE, [(A, 1), (B, 2), (C, 3)])
    assert (found.came, found.strange, found.lost) == (1, (), ())


def test_another_content_is_told_also_of_what_had_no_answer(ledger: Ledger) -> None:
    found = ledger.compare(SAMPLE, [(A, 1), (B, 7), (C, 9)])
    assert found.changed == (B, C)
    assert found.lost == ()


def test_what_is_there_twice_is_counted_once(ledger: Ledger) -> None:
    found = ledger.compare(SAMPLE, [(A, 1), (A, 1), (A, 1), (B, 2)])
    assert found.doubled == (A,)


def test_of_two_answers_for_one_key_the_acknowledged_one_must_be_there(ledger: Ledger) -> None:
    found = ledger.compare(SAMPLE, [(A, 9), (A, 1), (B, 7), (B, 8)])
    assert (found.changed, found.doubled, found.lost) == ((B,), (A, B), ())


def test_what_was_refused_or_never_sent_must_not_be_there(ledger: Ledger) -> None:
    there = [(A, 1), (B, 2), (D, 4), (("n9", 0), 5)]
    assert ledger.compare(SAMPLE, there).strange == (D, ("n9", 0))
    assert ledger.compare(SAMPLE, there, all_sent=False).strange == ()


def test_kinds_are_apart(ledger: Ledger) -> None:
    ledger.sending(REPORT, {A: 1})
    ledger.acknowledged(REPORT, [A])
    assert ledger.counts() == {SAMPLE: 2, REPORT: 1, BYTES: 0}
    assert ledger.compare(REPORT, []).lost == (A,)
    assert ledger.compare(BYTES, []).acknowledged == 0


def test_an_acknowledgement_of_nothing_is_a_defect_of_the_benchmark(ledger: Ledger) -> None:
    with pytest.raises(KeyError, match="never sent"):
        ledger.acknowledged(SAMPLE, [("n1", 99)])
