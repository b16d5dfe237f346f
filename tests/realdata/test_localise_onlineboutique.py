"""The bar on real faults: culprit first in at least 13 of 14, all in the first three; without a label."""

from __future__ import annotations

import pytest

from tests.fixtures.localised import NORMAL, real, resource_faults

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not NORMAL.is_file(), reason="shared/data/onlineboutique is not here"),
]


def test_culprits_of_resource_faults_come_first() -> None:
    faults = resource_faults()
    assert len(faults) == 14
    found = {f"{fault.pod} {fault.kind}": f for fault, f in real(faults)}
    assert len(found) == 14
    late = {name: [s.component for s in f.ranking.suspects[:3]] for name, f in found.items() if f.place}
    assert len(late) <= 1, late
    assert all(f.place < 3 for f in found.values()), late
    assert sum(f.paper == 0 for f in found.values()) < 7  # RI and CI alone do not suffice
