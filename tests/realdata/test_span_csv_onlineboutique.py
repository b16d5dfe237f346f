"""Every published file of OnlineBoutique's spans is read whole."""

import csv
import gzip
from pathlib import Path

import pytest

from vagus.inputs.span_csv import read_csv

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "onlineboutique"
pytestmark = [pytest.mark.realdata, pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}")]
SERVICES = {
    *("adservice", "cartservice", "checkoutservice", "currencyservice", "emailservice", "frontend"),
    *("paymentservice", "productcatalogservice", "recommendationservice", "shippingservice"),
}


@pytest.mark.parametrize("path", sorted([*DATA.glob("normal/*.csv.gz"), *DATA.glob("trace/*.csv.gz")])[::8])
def test_every_line_becomes_a_span(path):
    spans, rejects = read_csv(path)
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    assert rejects.count == 0
    assert len(spans) == len(rows) > 1000
    assert {span.service for span in spans} <= SERVICES
    roots = [span for span in spans if not span.parent_id]
    assert len(roots) == sum(row["ParentID"] == "root" for row in rows) > 0
    for span, row in zip(spans[::97], rows[::97], strict=True):
        assert (span.span_id, span.component, span.duration_ns // 1000) == (
            row["SpanID"],
            row["PodName"],
            int(row["Duration"]),
        )
