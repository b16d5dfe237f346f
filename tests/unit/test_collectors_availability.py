"""CPU availability: the model on known loads, its correction by a check, captured machines, broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagus.collectors.availability import AvailabilityCollector, available, check, parse
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

FIXTURES = Path(__file__).parents[1] / "fixtures"
S = 10**9


@pytest.mark.parametrize(
    ("cores", "idle", "running", "ratio", "all_cores"),
    [
        (1, 1.0, 0, 1.0, 1.0),
        (1, 0.0, 1, 1 / 2, 1 / 2),
        (1, 0.0, 3, 1 / 4, 1 / 4),
        (2, 0.5, 1, 1.0, 1 + 2 / 3),
        (2, 0.0, 2, 2 / 3, 1.0),
        (4, 0.0, 12, 4 / 13, 1.0),
        (64, 0.25, 48, 1.0, 16 + 48 * 64 / 112),
        (2, 0.0, 0, 2 / 3, 1.0),  # caught at an instant when nobody ran: two cores were busy all the same
    ],
)
def test_idle_cores_and_a_fair_share(cores: int, idle: float, running: float, ratio: float, all_cores: float) -> None:
    assert available(cores, idle, running) == pytest.approx((ratio, all_cores))


def write(root: Path, cores: int, busy: int, idle: int, running: int) -> None:
    (root / "proc").mkdir(exist_ok=True)
    lines = [f"cpu {busy} 0 0 {idle} 0 0 0 0 0 0", *(f"cpu{n} 1 0 0 1 0 0 0 0 0 0" for n in range(cores))]
    (root / "proc/stat").write_text("\n".join([*lines, "intr 5 1 2", f"procs_running {running}", ""]))


def readings(collector: AvailabilityCollector, t_ns: int) -> tuple[float | int, ...]:
    (sample,) = collector.collect(t_ns)
    assert isinstance(sample, Sample)
    return sample.values


def test_ticks_are_of_the_last_interval(tmp_path: Path) -> None:
    collector = AvailabilityCollector("n", tmp_path, CollectSettings())
    write(tmp_path, 2, 1000, 1000, 1)
    readings(collector, S)
    write(tmp_path, 2, 1000, 1200, 1)
    assert readings(collector, 2 * S) == (1.0, 2.0)
    for n in range(40):
        write(tmp_path, 2, 1200 + 200 * n, 1200, 3)
        values = readings(collector, (3 + n) * S)
    assert values == pytest.approx((2 / 3, 1.0), rel=0.01)
    write(tmp_path, 2, 10, 10, 1)  # counters that began anew
    assert readings(collector, 99 * S)[0] > 0.5
    collector.close()


def test_a_check_corrects_until_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.95, 0.5])
    collector = AvailabilityCollector("n", tmp_path, CollectSettings())
    collector._check = lambda: next(found)  # type: ignore[method-assign, assignment]
    for n in range(3):
        write(tmp_path, 1, 100 * (n + 1), 0, 2)
        values = readings(collector, n * S)
    assert values == pytest.approx((0.95, 0.95)), "one process of little weight"
    write(tmp_path, 1, 400, 0, 2)
    assert readings(collector, 60 * S) == pytest.approx((0.95, 0.95))
    write(tmp_path, 1, 500, 0, 2)
    readings(collector, 200 * S)
    assert collector.scale == pytest.approx(0.1 + 0.3 * 0.9)
    write(tmp_path, 1, 500, 100, 1)
    assert readings(collector, 400 * S)[0] > 0.8
    assert next(found, None) is None, "an idle machine teaches nothing: no check was made there"


@pytest.mark.parametrize("tree", ["proc-centos7-kernel310", "proc-debian12-2core", "proc-rpi4-kernel419"])
def test_captured_machines(tree: str) -> None:
    root = FIXTURES / tree
    collector = AvailabilityCollector("n", root, CollectSettings())
    cores, total, idle, running = parse((root / "proc/stat").read_bytes())
    assert 0 < idle <= total
    assert running >= 1
    ratio, all_cores = readings(collector, S)
    assert 0 < ratio <= 1
    assert 0 < all_cores <= cores
    collector.close()


@pytest.mark.parametrize(
    "text", ["", "cpu 1 2\ncpu0 1 2\nprocs_running 1\n", "cpu a b c d\n", "cpu0 1\nprocs_running 1"]
)
def test_broken_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(text)
    with pytest.raises(CollectError, match="unexpected form"):
        list(AvailabilityCollector("n", tmp_path, CollectSettings()).collect(S))


def test_the_check_is_a_ratio() -> None:
    assert 0 < check() <= 1
