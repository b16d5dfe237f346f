"""CSV files of spans: good ones, and every way in which they are not."""

import gzip

import pytest

from vagus.errors import ConfigError
from vagus.inputs.span_csv import read_csv, service_of_pod
from vagus.model import Span

HEADER = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n"
GOOD = "t1,a,root,frontend-579b9bff58-t2dbm,shop/Recv.,1000,9000,8\nt1,b,a,cart-0,shop/Get,2000,3000,1\n"


@pytest.mark.parametrize("packed", [False, True])
def test_reads_plain_and_gzipped(tmp_path, packed):
    path = tmp_path / "spans.csv"  # what it is says its content, not its name
    text = (HEADER + GOOD).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    spans, rejects = read_csv(path)
    assert spans == [
        Span("t1", "a", "", "frontend", "frontend-579b9bff58-t2dbm", "shop/Recv.", 1000, 9000),
        Span("t1", "b", "a", "cart", "cart-0", "shop/Get", 2000, 3000),
    ]
    assert (rejects.count, rejects.message) == (0, "")


def test_order_of_columns_quotes_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "spans.csv"
    header = "\ufeffEndTimeUnixNano,StartTimeUnixNano,OperationName,PodName,ParentID,SpanID,TraceID\n"
    path.write_text(header + '2000,1000,"GET /a,b",web,,s,t\r\n\r\n', encoding="utf-8")
    assert read_csv(path)[0] == [Span("t", "s", "", "web", "web", "GET /a,b", 1000, 2000)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("t1,c", "line 4: 2 columns; at least 7"),
        ("t1,c,a,p,op,one,2", "line 4: start 'one'"),
        ("t1,c,a,p,op,1.5,2", "line 4: start '1.5'"),
        ("t1,c,a,p,op,2,1", "line 4: span 'c' of 'op' ends before it starts"),
        ("t1,c,a,p,op,-2,1", "line 4: t_ns=-2"),
        ("t1,c,a,p,op,1,99999999999999999999", "line 4: t_ns="),
        (",c,a,p,op,1,2", "line 4: trace id must be"),
        ("t1,c,a,,op,1,2", "line 4: PodName must have"),
        (f"t1,c,a,p,{'o' * 300},1,2", "line 4: operation must be"),
        ("t1,c,a,p,op," + "1" * 5000 + ",2", "line 4: start"),
    ],
)
def test_a_bad_line_is_counted_with_its_number_and_nothing_else_lost(tmp_path, line, why):
    path = tmp_path / "spans.csv"
    path.write_text(f"{HEADER}{GOOD}{line}\nt2,d,,p,op,1,2\n")
    spans, rejects = read_csv(path)
    assert [span.span_id for span in spans] == ["a", "b", "d"]
    assert rejects.count == 1
    assert rejects.message.startswith(why)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no CSV of spans: its first line must name"),
        (b"TraceID,SpanID\n", "no column ParentID, PodName"),
        (b"\x1f\x8bno gzip", "cannot read"),
        (gzip.compress(HEADER.encode() * 100, mtime=0)[:-20], "cannot read"),
        (b"x" * 200_000, "longer than"),
        (HEADER.encode() + b'"' + b"x\n" * 200_000, "is no CSV"),
    ],
)
def test_no_file_of_spans(tmp_path, content, why):
    path = tmp_path / "spans.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        read_csv(path)


def test_missing_file_and_too_many_spans(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_csv(tmp_path / "none.csv")
    path = tmp_path / "spans.csv"
    path.write_text(HEADER + GOOD)
    with pytest.raises(ConfigError, match="more than 1 spans"):
        read_csv(path, most=1)


@pytest.mark.parametrize(
    ("pod", "service"),
    [
        ("frontend-579b9bff58-t2dbm", "frontend"),
        ("ts-order-service-cf787dd48-vpjrd", "ts-order-service"),
        ("web-3473650294-bcdfg", "web"),  # hashes of old were numbers
        ("node-exporter-x7k2p", "node-exporter"),
        ("redis-0", "redis"),
        ("redis", "redis"),
        ("grpc-https", "grpc-https"),
        ("load-generator", "load-generator"),
        ("-0", "-0"),
    ],
)
def test_service_of_pod(pod, service):
    assert service_of_pod(pod) == service
