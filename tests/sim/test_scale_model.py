"""The model of scale against simulations that it was not fitted to, and what its tables say. Seeded.

What depends on the machine (CPU) is only printed by the benchmark; here are datagrams, bytes and times, which do not.
"""

from __future__ import annotations

import json
import pickle
import statistics
from itertools import pairwise

import pytest

from benchmarks import reconcile, scale
from benchmarks import scale_model as model
from benchmarks.scale_costs import PERIOD_S, WATCH, Costs, Line, Spoken, gossiping, of_gossip, one_of
from benchmarks.scale_world import SUBJECTS, World, death, reports_per_s
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper

ROW = {"what", "value", "unit", "bar", "met", "peer"}
MICRO = 1e-6

COSTS = Costs(
    seal_s=Line(2 * MICRO, 0.0),
    open_s=Line(3 * MICRO, 0.0),
    sealed_bytes=90.0,
    send_s=3 * MICRO,
    receive_s=MICRO,
    swim_s=Line(20 * MICRO, 0.01 * MICRO),
    swim_bytes=11.0,
    swim_datagrams=2.0,
    member_memory_bytes=400.0,
    merge_s=Line(14 * MICRO, MICRO),
    report_bytes=103.0,
    commit_s=8 * MICRO,
    all_heard=Spoken(Line(0.0, 30 * MICRO), Line(1.0, 0.3), Line(1.4, 0.0), Line(0.0, 190.0)),
    watched=Spoken(Line(0.0, 30 * MICRO), Line(2.0, 0.5), Line(2.0, 0.4), Line(0.0, 110.0)),
    report_memory_bytes=700.0,
    round_s=Line(0.0, 11 * MICRO),
    lost_s=Line(0.0, 45 * MICRO),
    address_bytes=20.0,
    name_bytes=13.0,
    directory_s=Line(0.0, 350 * MICRO),
    directory_bytes=7300.0,
    entries_s=220 * MICRO,
    directory_memory_bytes=53_000.0,
    lookup_s=Line(0.0, MICRO),
    owner_s=Line(6 * MICRO, 0.003 * MICRO),
    parcel_s=Line(0.0, MICRO),
    take_s=Line(0.0, MICRO),
    idle_s=MICRO,
    parcel_bytes=Line(28.0, 15.0),
    receipt_bytes=Line(29.0, 15.0),
    delta_s=10 * MICRO,
    delta_bytes=16_000.0,
    apply_s=130 * MICRO,
    table_memory_bytes=500_000.0,
)


def simulated(nodes: int, interest: str, watch: tuple[str, ...]) -> World:
    world = World(nodes, 7, interest=interest, watch=watch)
    world.run(PERIOD_S + 1.0)
    world.forget()
    world.run(PERIOD_S)
    return world


@pytest.mark.parametrize(("interest", "watch"), [("all", ()), ("watched", WATCH)])
def test_gossip_fitted_to_few_nodes_tells_what_more_than_twice_as_many_send(interest, watch):
    spoken = gossiping((4, 8), interest, watch)
    _, datagrams, _, body_bytes = of_gossip(simulated(20, interest, watch), PERIOD_S)
    assert spoken.datagrams(20) == pytest.approx(datagrams, rel=0.35)
    assert spoken.body_bytes(20) == pytest.approx(body_bytes, rel=0.25)


def test_who_watches_less_is_sent_less_and_holds_less():
    whole, narrow = simulated(16, "all", ()), simulated(16, "watched", WATCH)
    assert narrow.counts["push_bytes"] < 0.8 * whole.counts["push_bytes"]
    assert narrow.counts["merged"] < 0.2 * whole.counts["merged"]
    held = [sum(len(node.local) for node in world.nodes.values()) for world in (whole, narrow)]
    assert held[1] < 0.3 * held[0]


def test_all_that_is_said_is_known_everywhere():
    world = simulated(12, "all", ())
    assert world.counts["reported"] == pytest.approx(12 * PERIOD_S * reports_per_s(), rel=0.15)
    assert world.counts["merged"] == pytest.approx(world.counts["reported"] * 11, rel=0.02)
    assert all(len(node.local.subjects()) >= 12 * SUBJECTS for node in world.nodes.values())


@pytest.mark.parametrize("nodes", [10, 30, 60])
def test_how_long_until_a_dead_node_is_dead_to_all(nodes):
    found = statistics.median(death(nodes, seed) for seed in range(5))
    assert model.detection_s(nodes) == pytest.approx(found, rel=0.25)


def test_one_node_among_many_is_sent_what_the_model_says():
    found = one_of(40)
    assert found["evicted_per_s"] == 0
    assert found["reports"] == pytest.approx(3 * 39 * (SUBJECTS), rel=0.1)
    assert found["digest_bytes"] == pytest.approx(39 * 33, rel=0.2)


async def test_news_of_a_lost_node_are_as_many_bytes_as_the_model_says():
    told = len(pickle.dumps(("know", tuple(f"node-{n:05}" for n in range(1000))), protocol=5)) / 1000
    assert told == pytest.approx(COSTS.name_bytes, rel=0.1)
    with reconcile.quiet_log():
        handed = await scale._handed_out(61)
    assert model.news_bytes(COSTS, 60) == pytest.approx(handed, rel=0.35)


def test_beyond_the_bound_of_subjects_a_store_forgets_what_is_still_reported_on():
    from benchmarks.scale_world import START_NS, sensed

    local = LocalStore("me", Paper(), max_subjects=20)
    for _ in range(3):
        for node in range(3):
            for report in sensed(f"n{node}", START_NS):
                local.submit(report, START_NS + 1)
    assert len(local.subjects()) == 20
    assert local.counts["evicted_subjects"] >= 13


@pytest.mark.parametrize("name", sorted(model.PARTS))
def test_a_part_bends_at_the_fewest_nodes_that_cross_a_limit(name):
    part = model.PARTS[name]
    bent, over = model.bends(COSTS, part)
    if over:
        assert model.crossed(part(COSTS, bent)) == over
        assert not model.crossed(part(COSTS, bent - 1))
    else:
        assert not model.crossed(part(COSTS, model.MOST))
    grown = [part(COSTS, nodes) for nodes in model.SIZES]
    assert all(
        later >= earlier * 0.999
        for one, two in pairwise(grown)
        for earlier, later in zip(one[1::2], two[1::2], strict=True)  # of the head
    )


def test_a_line_through_two_sizes():
    assert Line.through(10, 3.0, 20, 5.0) == (1.0, 0.2)
    assert Line.through(10, 5.0, 20, 3.0) == (5.0, 0.0), "noise makes nothing cheaper with more nodes"
    assert Line.through(10, 1.0, 20, 4.0)(20) == 4.0, "what grows faster than in proportion is as at the larger size"


def test_tables_and_figure_are_made_of_the_same_figures(capsys):
    rows = [*scale.table(COSTS), *scale.operations(COSTS)]
    assert {row["value"] for row in rows if row["what"].startswith("cost: merge_s")} == {14 * MICRO, MICRO}
    assert all(set(row) == ROW and row["bar"] is None for row in rows)
    bends = {row["what"].removesuffix(": bends at") for row in rows if row["what"].endswith(": bends at")}
    assert bends == set(model.PARTS)
    compared = [scale.row("model ÷ simulated: x", 1.0, "ratio", "1 ÷ 1 s"), scale.row("evicted", 3.0, "1/s")]
    page = scale.markdown(COSTS, compared)
    for name in model.PARTS:
        (line,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
        assert line.count("|") == len(model.SIZES[2:]) + 3
    assert "| x | 1.00 | 1 ÷ 1 s |" in page
    assert f"{model.BOUNDS['gossip'][0]:,}: 10,000 subjects" in page
    scale._print(COSTS, compared)
    assert "decide on every node: bends at" in capsys.readouterr().out
    assert scale.draw(COSTS).startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [["--json", "--markdown"], ["--figure"], ["--nodes"]])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        scale.main(arguments)
    assert error.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_reconcile_has_rows_of_each_size_with_the_bar_at_a_thousand(capsys):
    reconcile.main(["--json", "--quick", "--nodes", "3", "7"])
    rows = json.loads(capsys.readouterr().out)
    assert all(set(row) == ROW for row in rows)
    by_what = {row["what"]: row["value"] for row in rows}
    assert by_what["3 nodes: actors"] == 3 * 4 + 2
    assert by_what["7 nodes: actors"] == 7 * 4 + 2
    assert all(row["bar"] is None for row in rows), "the bar is for 1000 nodes"
    with pytest.raises(SystemExit):
        reconcile.main(["--nodes", "1"])
    assert "2 to 20000" in capsys.readouterr().err
