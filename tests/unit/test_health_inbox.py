"""Reports as bytes from any process: both formats, and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from vagus.errors import ConfigError
from vagus.health.inbox import MAX_INBOX_BYTES, read_reports
from vagus.model import Metric, Report, Status

NOW = 1_700_000_000_000_000_000
REPORT = Report("api@1", "db@2", NOW, {"read": Metric(Status.UNHEALTHY, 30)})
JSON = '{"observer":"api@1","subject":"db@2","t_ns":1700000000000000000,"contexts":{"read":%s}}'


def test_messagepack_one_or_many() -> None:
    assert read_reports(msgspec.msgpack.encode(REPORT)) == [REPORT]
    assert read_reports(msgspec.msgpack.encode([REPORT] * 20)) == [REPORT] * 20
    assert read_reports(msgspec.msgpack.encode([REPORT])) == [REPORT]


@pytest.mark.parametrize("metric", ['["UNHEALTHY", 30]', '["u", 30.0]', "[5, 30]"])
def test_json(metric: str) -> None:
    assert read_reports((JSON % metric).encode()) == [REPORT]
    assert read_reports(f"\n[{JSON % metric},{JSON % metric}]\n".encode()) == [REPORT, REPORT]


def test_a_time_to_live_and_doubt_may_be_given() -> None:
    (report,) = read_reports((JSON % '"h"').replace('"contexts"', '"ttl_ns":5000000000,"doubt":3,"contexts"').encode())
    assert (report.ttl_ns, report.doubt) == (5_000_000_000, 3)
    assert read_reports(msgspec.msgpack.encode(report)) == [report]


def test_the_score_may_be_left_out() -> None:
    assert read_reports((JSON % '"h"').encode())[0].contexts == {"read": Metric(Status.HEALTHY, 0)}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"", "0 bytes"),
        (b"x" * (MAX_INBOX_BYTES + 1), "bytes"),
        (b"\xc1\xc1", "not a report"),
        (b"[" * 50_000, "nested|not a report"),
        (b"\x91" * 50_000, "nested|not a report"),
        (b"[]", "0 reports"),
        (b"\x90", "0 reports"),
        (b"null", "not a report"),
        (b'{"observer": "a"', "not a report"),
        (b"{\xff}", "not a report"),
        (b'{"observer":"a","subject":"b","contexts":{"read":"h"}}', "t_ns"),
        (b'{"observer":"a","subject":"b","t_ns":null,"contexts":{"read":"h"}}', "t_ns"),
        (b'{"observer":"a","subject":"b","t_ns":1e300,"contexts":{"read":"h"}}', "t_ns|not a report"),
        (b'{"observer":"a","subject":"b","t_ns":9999999999999999999,"contexts":{"read":"h"}}', "2100"),
        (b'{"observer":"a","subject":"b","t_ns":1,"contexts":{}}', "1 to 100 contexts"),
        (b'{"observer":"","subject":"b","t_ns":1,"contexts":{"read":"h"}}', "observer"),
        (b'{"observer":"a","subject":"b","t_ns":1,"contexts":{"read":"sick"}}', "status"),
        (b'{"observer":"a","subject":"b","t_ns":1,"contexts":{"read":8}}', "status 8"),
        (b'{"observer":"a","subject":"b","t_ns":1,"contexts":{"read":"h"},"extra":1}', "extra"),
        (b'{"observer":"a","subject":"b","t_ns":1,"contexts":{"read":"h"},"doubt":9}', "doubt=9"),
        (b'{"observer":"a","subject":"b","t_ns":1,"contexts":{"read":"h"},"ttl_ns":-1}', "ttl_ns=-1"),
        (msgspec.msgpack.encode(["a", "b", 1, {"read": [5, float("nan")]}]), "finite"),
        (msgspec.msgpack.encode(["a", "b"]), "not a report"),
        (msgspec.msgpack.encode([["a", "b", 1, {"r": [5, 1.0]}]] * 1001), "1001 reports"),
    ],
)
@pytest.mark.says("limit-reports")
def test_bad_messages_are_refused_with_a_reason(bad: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_reports(bad)
