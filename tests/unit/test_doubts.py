"""What speaks against acting."""

from __future__ import annotations

import pytest

from vagus.clock import NS
from vagus.controllers.doubts import MAX_SETTLE_S, SETTLE_S, doubts_of, settling
from vagus.model import Field, Inference, Sample, Status, Stream, Verdict

NOW = 1_700_000_000 * NS
SAMPLE = Sample(Stream(node="a", kind="host.load", fields=(Field("load1"),)), NOW - NS, (0.5,))


def inference(subject: str, context: str, status: Status) -> Inference:
    return Inference(subject, NOW, status, {context: Verdict(status, 1.0)}, ("x",))


def test_fresh_samples_and_healthy_means_leave_no_doubt():
    assert doubts_of("a", NOW, [SAMPLE], [inference("node:a", "alive", Status.HEALTHY)], 5.0) == []


@pytest.mark.parametrize(
    ("samples", "inferences", "words"),
    [
        ([], [], "no samples"),
        ([Sample(SAMPLE.stream, NOW - 9 * NS, (0.5,))], [], "9.0 s old"),
        ([SAMPLE], [inference("vagus:collector@a", "alive", Status.DEAD)], "DEAD"),
        ([SAMPLE], [inference("node:a", "swim", Status.MAYBE_UNHEALTHY)], "MAYBE_UNHEALTHY in swim"),
        ([SAMPLE], [inference("node:a", "ray", Status.DEAD)], "DEAD in ray"),
    ],
)
def test_doubts_about_the_means_are_named(samples, inferences, words):
    (doubt,) = doubts_of("a", NOW, samples, inferences, 5.0)
    assert words in doubt


def test_the_steered_service_and_load_are_input_not_doubt():
    suffering = [inference("web@a", "latency", Status.UNHEALTHY), inference("node:a", "cpu_pressure", Status.UNHEALTHY)]
    assert doubts_of("a", NOW, [SAMPLE], suffering, 5.0) == []


def test_a_crashed_controller_watches_before_it_acts_longer_each_time():
    assert settling(0, 0.0) == []
    assert settling(1, SETTLE_S - 0.1)
    assert settling(1, SETTLE_S) == []
    assert settling(2, SETTLE_S)
    assert settling(10_000, MAX_SETTLE_S - 1)
    assert settling(10_000, MAX_SETTLE_S) == []


def test_an_actuator_in_doubt_is_one_of_the_means_but_not_by_ones_own_word() -> None:
    refused = [inference("actuator:auto@a", "write_other", Status.UNHEALTHY)]
    (doubt,) = doubts_of("a", NOW, [SAMPLE], refused, 5.0, "auto", "write_mine")
    assert (str(doubt), doubt.of) == ("actuator:auto@a is UNHEALTHY in write_other", "hand")
    assert doubts_of("a", NOW, [SAMPLE], refused, 5.0, "auto", "write_other") == []
    assert doubts_of("a", NOW, [SAMPLE], refused, 5.0, "cgroup1", "") == []


def test_of_what_there_is_doubt() -> None:
    assert [d.of for d in doubts_of("a", NOW, [], [inference("node:a", "alive", Status.DEAD)], 5.0)] == [
        "sight",
        "hand",
    ]
    assert [d.of for d in settling(1, 0.0)] == ["hand"]
