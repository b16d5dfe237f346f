"""The script that a page becomes: its blocks in one shell, the first failure its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fixtures.blocks import blocks
from tests.fixtures.pages import script


def played(text: str, folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    typed = script(blocks("p.md", text), folder, {"127.0.0.1:7117": "elsewhere:1"}, **given)
    # Debian itself has `python3` alone; the virtual environment has both
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash"], input=typed, capture_output=True, text=True, timeout=60, check=False, env=env)


def test_blocks_share_shell_folder_and_files(tmp_path: Path) -> None:
    page = """
```sh
A=1; echo "to 127.0.0.1:7117"
```
<!-- file: said.py -->
```python
print("written, then run")
```
```console
$ python said.py
written, then run
$ echo "A is $A" \\
    and more
$ test "$(cat made)" = here
```
```python
print(known + 1)
```
```yaml
not: run
```
<!-- shown by: tests/unit/test_docs_pages.py -->
```sh
false
```
<!-- run: exit 3 -->
```sh
(exit 3)
```
"""
    done = played(page, tmp_path, shell="echo here > made", python="known = 41")
    assert (done.returncode, done.stdout) == (0, "to elsewhere:1\nwritten, then run\nA is 1 and more\n42\n"), (
        done.stderr
    )
    assert ": p.md:3" in done.stderr


def test_the_first_failure_ends_it_and_its_place_is_said(tmp_path: Path) -> None:
    done = played("```sh\necho one\nfalse\necho two\n```\n", tmp_path)
    assert (done.returncode, done.stdout) == (1, "one\n")
    assert done.stderr.endswith(": p.md:2\n+ echo one\n+ false\n")


def test_another_exit_status_than_said_is_a_failure(tmp_path: Path) -> None:
    assert played("<!-- run: exit 3 -->\n```sh\ntrue\n```\n", tmp_path).returncode == 1


def test_what_goes_on_is_interrupted(tmp_path: Path) -> None:
    done = played("```sh\necho up; sleep 600   # goes on until Ctrl-C\necho after\n```\n", tmp_path)
    assert (done.returncode, done.stdout.split()[-1]) == (0, "after"), done.stdout
    (tmp_path / "again").mkdir()
    done = played("```console\n$ echo 'A row' && sleep 600\nA row\n^Cended\n$ echo after\n```\n", tmp_path / "again")
    assert (done.returncode, done.stdout.split()[-1]) == (0, "after"), done.stdout


def test_what_ends_badly_when_interrupted_is_a_failure(tmp_path: Path) -> None:
    done = played("```sh\ntrap 'exit 9' INT; echo up; while sleep .1; do :; done # Ctrl-C\n```\n", tmp_path)
    assert (done.returncode, "ended with exit 9" in done.stdout) == (1, True), done.stdout
