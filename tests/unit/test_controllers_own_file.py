"""Classes out of a file by path: which one is meant, and how it gets to where the file is not."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vagus.config import ControllerSettings
from vagus.controllers.load import file_of, find, is_code, load, travelling
from vagus.errors import ConfigError
from vagus.runtime.travel import MAX_PACKED_BYTES, Packed, pack, unpack

ONE = """
from dataclasses import dataclass
from vagus.policies import LimitPolicy

class _Hidden:
    def step(self, signals): ...

@dataclass
class Settings:
    factor: float = 2.0

def scaled(value, settings):
    return value * settings.factor

class Twice:
    def __init__(self, factor=2.0):
        self.settings = Settings(factor)
    def step(self, signals):
        return scaled(signals["usage_cores"], self.settings)
"""


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / f"{next(iter(files))}.py"


def test_the_only_class_with_a_step_needs_no_name(tmp_path: Path) -> None:
    file = written(tmp_path, one=ONE)
    assert find(str(file)).__name__ == "Twice", "neither what is imported, nor what is private, nor what cannot step"
    assert find(f"{file}:Twice") is not None
    assert find(f"{file}:_Hidden").__name__ == "_Hidden", "by name, anything"
    made = load(ControllerSettings(name="c", policy=str(file), options={"factor": 3.0}))
    assert callable(made.step)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("class A:\n  def step(self, v): ...\nclass B(A): ...\n", "it has several: A, B; name one, as .*two.py:Class"),
        ("class A: ...\n", "it has none; name it, as .*two.py:Class"),
        ("import no_such_module_here\n", "does not load: ModuleNotFoundError"),
        ("class A\n", "does not load: SyntaxError"),
        ("raise SystemError('x')\n", "does not load: SystemError: x"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find(str(written(tmp_path, two=text)))


def test_a_file_that_is_not_there_or_whose_class_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a Python file"):
        find(str(tmp_path / "none.py"))
    with pytest.raises(ConfigError, match="has no attribute 'Thrice'"):
        find(f"{written(tmp_path, one=ONE)}:Thrice")


@pytest.mark.parametrize(
    ("policy", "file"),
    [("a.py", "a.py"), ("x/a.py:B", "x/a.py"), ("m.n:B", ""), ("throttle", ""), ("a.py:B:C", ""), (":", "")],
)
def test_which_file_a_policy_names(policy: str, file: str) -> None:
    assert file_of(policy) == file
    assert is_code(policy) == (policy != "throttle")


def test_a_class_travels_with_what_lies_beside_it_and_leaves_no_trace_here(tmp_path: Path) -> None:
    uses = "import mine_beside\nfrom mine_beside import half\nclass C:\n  def step(self, s):\n    return half(s) + mine_beside.ONE\n"
    file = written(tmp_path, uses=uses, mine_beside="ONE = 1\ndef half(x): return x / 2\n")
    path = list(sys.path)
    kind = find(str(file))
    assert sys.path == path
    assert {m.__name__.partition("_uses")[0] for m in travelling(kind)} == {"vagus_user", "mine_beside"}
    packed = pack(kind, travelling(kind))
    assert pack(kind, travelling(kind)) == packed
    file.unlink()
    (tmp_path / "mine_beside.py").unlink()
    code = (
        "import sys; from vagus.runtime.travel import *; kind = unpack(Packed('C', sys.stdin.buffer.read()))\n"
        "print(kind().step(4))"
    )
    there = subprocess.run([sys.executable, "-c", code], input=packed.content, capture_output=True, check=False)
    assert there.stdout == b"3.0\n", there.stderr.decode()


def test_a_class_of_an_installed_module_goes_by_its_name() -> None:
    assert travelling(find("vagus.policies.throttle:ThrottleTarget")) == []
    assert travelling(dict) == []
    packed = pack(dict)
    assert len(packed.content) < 100
    assert unpack(packed) is dict
    assert unpack(None) is None
    assert unpack(list) is list, "what was never packed"


def test_what_cannot_travel_says_why(tmp_path: Path) -> None:
    class Locked:
        lock = threading.Lock()

    with pytest.raises(ConfigError, match=r"Locked cannot be sent to the nodes: TypeError: cannot pickle .*lock"):
        pack(Locked)
    with pytest.raises(ConfigError, match="at most 16 are sent; have it read files"):
        pack(bytes(MAX_PACKED_BYTES + 1))


def test_a_node_that_lacks_what_it_imports_says_so(tmp_path: Path) -> None:
    file = written(
        tmp_path, needs="import elsewhere_alone\nclass C:\n  base = elsewhere_alone.X\n  def step(self, s): ...\n"
    )
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub", elsewhere_alone="class X: ...\n")
    sys.path.append(str(tmp_path / "sub"))
    try:
        kind = find(str(file))
        packed = pack(kind, travelling(kind))
    finally:
        sys.path.remove(str(tmp_path / "sub"))
        del sys.modules["elsewhere_alone"]
    with pytest.raises(
        ConfigError, match=r"C does not load on this node: ModuleNotFoundError.*Python files travel .* folders do not"
    ):
        unpack(packed)
    with pytest.raises(ConfigError, match="X does not load on this node"):
        unpack(Packed("X", b"\x80"))
