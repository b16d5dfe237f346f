"""Whose a decision is, who acts for whom, lines of letters, rows that leaders push."""

from __future__ import annotations

from random import Random

import pytest

from vagus.controllers.decide.mail import MAX_ARMS, MAX_LETTER, MAX_SENT, Letter, Orphans, Outgoing, accept, portions
from vagus.controllers.decide.plan import Claim, acting, deputy_of, nodes_of, prefix_of, renames
from vagus.controllers.decide.records import Grouping, GroupState, Move, Outcome, Plan, Row, TableUpdate
from vagus.controllers.decide.rows import KEEP_S, LEASE_S, RENEW_S, Rows
from vagus.controllers.decide.table import DecisionTable

ROW, OTHER = Row(("a", "b"), (0.5, 0.5)), Row(("a", "b"), (0.1, 0.9))


def test_an_id_names_its_node():
    table = DecisionTable(Random(1), prefix=prefix_of("n2"))
    drawn = table.decide({}, ["a"], 1)
    assert nodes_of(drawn.decision_id, ("n1", "n2", "n3")) == ("n2",)
    assert nodes_of(drawn.decision_id, ("n1",)) == ()
    assert nodes_of("f" * 32, ("n1", "n2")) == ()


def test_deputies_go_around():
    assert deputy_of("n1", ["n2", "n3"]) == "n2"
    assert deputy_of("n3", ["n1", "n2"]) == "n1"
    assert deputy_of("n1", []) == ""


def test_a_claim_holds_until_it_is_obeyed_and_claims_follow_each_other():
    claims = {"n1": Claim("n1", 5, "n2"), "n2": Claim("n2", 7, "n3")}
    alive = {"n1", "n2", "n3"}.__contains__
    assert acting("n1", "n9", claims, alive, {}) == "n3"
    assert acting("n1", "n9", claims, alive, {"n2": 7}) == "n2"
    assert acting("n1", "n9", claims, alive, {"n1": 5}) == "n1"
    assert acting("n4", "n9", claims, alive, {}) == "n9", "dead, and nobody stands in"
    around = {"n1": Claim("n1", 5, "n2"), "n2": Claim("n2", 7, "n1")}
    assert acting("n1", "n9", around, alive, {}) == "n9"


def test_late_outcomes_of_a_group_that_is_no_more_go_where_most_of_it_went():
    moves = (Move("a", "x", 0.3), Move("a", "y", 0.7), Move("b", "b", 0.9), Move("b", "y", 0.1))
    assert renames(Plan(1, Grouping(1), {}, moves)) == {"a": "y"}


def _outcome(number: int) -> Outcome:
    return Outcome("g", "a", float(number))


def test_letters_leave_once_saved_and_stay_until_they_are_durable():
    line = Outgoing(birth=1)
    for number in range(MAX_LETTER + 1):
        line.add(number, _outcome(number))
    assert len(line.write()) == 2
    assert line.to_send() == ()
    line.unsaved.clear()
    assert [letter.number for letter in line.to_send()] == [1, 2]
    assert line.answered(2, 0, 10**9) == []
    assert line.to_send() == ()
    assert line.answered(0, 0, 10**9) == []
    assert len(line.to_send()) == 2, "the receiver began anew: again"
    assert line.answered(2, 2, 100) == [], "a restart would look for them"
    assert line.answered(2, 2, 10**9) == [1, 2]
    assert (line.first, line.letters) == (3, {})


def test_a_letter_with_groups_waits_for_the_replica_and_holds_up_what_comes_after():
    line = Outgoing(birth=1)
    line.add(1, _outcome(1))
    line.write([GroupState("g", 1, "ucb", ("a",), {})], stamps=(7,), hold=(3, 5))
    line.add(2, _outcome(2))
    line.write()
    line.unsaved.clear()
    assert [letter.number for letter in line.to_send()] == [1]
    assert line.release((3, 4)) == []
    assert line.release((3, 5)) == [2]
    assert [letter.number for letter in line.to_send()] == [1], "and for that to be saved"
    line.releasing.clear()
    assert [letter.number for letter in line.to_send()] == [1, 2, 3]
    again = Outgoing(1, line.state())
    assert (again.following, again.holds) == (4, {})


def _state(group: str, arms: int) -> GroupState:
    return GroupState(group, 1, "ucb", tuple(f"a{at}" for at in range(arms)), {})


def test_groups_travel_in_portions_that_fit_a_commit_and_a_parcel():
    states = [_state("big", MAX_ARMS + 1), *(_state(f"g{at}", 10) for at in range(5)), _state("wide", MAX_ARMS)]
    found = portions(states, 3)
    assert [[state.group for state in part] for part in found] == [["big"], ["g0", "g1", "g2"], ["g3", "g4"], ["wide"]]
    assert portions([], 3) == []
    line = Outgoing(birth=1)
    for part in found:
        line.write(part)
    line.write(orphans=Orphans("n2", 1, 0, (Letter(1, (), (_outcome(1),) * MAX_SENT),)))
    line.unsaved.clear()
    sent = []
    while letters := line.to_send():
        sent.append([letter.number for letter in letters])
        line.received = letters[-1].number
    assert sent == [[1], [2, 3], [4], [5]]


def test_rows_that_are_not_there_hold_up_no_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vagus.controllers.decide.rows.MAX_OWED", 2)
    rows = Rows(Grouping())
    for group in ("x", "y", "z", "g", "h", "i"):
        rows.subscribe("n2", group, 0.0)
    rows.led(TableUpdate(1, 0, None, {"g": ROW, "h": ROW, "i": ROW}), lambda group: True)
    assert rows.owed("n2") == ["g", "h"]
    monkeypatch.setattr("vagus.controllers.decide.rows.MAX_OWED_ARMS", 3)
    assert rows.owed("n2") == ["g"]


def test_what_comes_again_or_too_late_is_not_read_twice():
    through: dict[str, tuple[int, int, int]] = {}
    letters = [Letter(number) for number in (1, 2, 3)]
    assert accept(through, "n1", 1, 0, 1, letters) == letters
    assert accept(through, "n1", 1, 0, 1, letters) == []
    assert accept(through, "n1", 1, 0, 1, [Letter(5)]) == [], "4 is missing"
    assert accept(through, "n1", 1, 0, 5, [Letter(5)]) == [Letter(5)], "4 was given up"
    assert accept(through, "n1", 1, 9, 1, letters) == letters, "a new line"
    assert accept(through, "n1", 1, 0, 6, [Letter(6)]) == [], "of the old one"
    assert accept(through, "n1", 2, 0, 1, letters[:1]) == letters[:1], "another store"


def test_rows_are_owed_to_subscribers_until_they_have_them():
    rows = Rows(Grouping())
    rows.subscribe("n2", "g", 0.0)
    rows.led(TableUpdate(1, 0, None, {"g": ROW, "h": ROW}), lambda group: True)
    assert rows.owed("n2") == ["g"]
    sent = {"g": (0, rows.rows["g"])}
    rows.led(TableUpdate(2, 1, None, {"g": OTHER}), lambda group: True)
    rows.paid("n2", sent)
    assert rows.owed("n2") == ["g"], "it changed meanwhile"
    rows.paid("n2", {"g": (0, rows.rows["g"])})
    assert rows.owed("n2") == []
    rows.resend("n2")
    assert rows.owed("n2") == ["g"]
    rows.forget(LEASE_S + 1)
    assert rows.owed("n2") == []


def test_a_row_of_an_epoch_that_is_over_is_left_out_for_a_while():
    rows = Rows(Grouping())
    rows.pushed("g", 2, ROW, 0.0)
    rows.pushed("g", 1, OTHER, 1.0)
    assert rows.rows["g"] == ROW
    rows.pushed("g", 1, OTHER, KEEP_S + 1.0)
    assert rows.rows["g"] == OTHER


def test_the_table_goes_on_from_version_to_version():
    rows = Rows(Grouping(0, ("isp",)))
    table = DecisionTable(Random(1))
    table.apply(rows.full())
    first = rows.tick()
    assert first is not None
    table.apply(first)
    assert table.grouping == Grouping(0, ("isp",))
    assert rows.tick() is None
    rows.led(TableUpdate(1, 0, None, {"x": ROW}), lambda group: True)
    rows.pushed("y", 0, OTHER, 0.0)
    update = rows.tick()
    assert update is not None
    assert (update.base, update.version, set(update.groups)) == (1, 2, {"x", "y"})
    table.apply(update)
    rows.led(TableUpdate(2, 1, None, {}, ("x",)), lambda group: True)
    table.apply(rows.tick() or TableUpdate(0))
    assert table.explain("x") is None
    assert table.explain("y") is not None


def test_a_group_led_elsewhere_is_asked_for_once_in_a_while():
    rows = Rows(Grouping())
    assert rows.meet("g", 0.0)
    assert not rows.meet("g", RENEW_S - 0.1)
    assert rows.meet("g", RENEW_S)
    rows.ask_again()
    assert rows.meet("g", RENEW_S)
    assert not rows.answers("g", ("a",))
    rows.pushed("g", 0, ROW, 0.0)
    assert rows.answers("g", ("b", "a"))
    assert not rows.answers("g", ("a",))
