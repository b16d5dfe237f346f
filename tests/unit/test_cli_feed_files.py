"""`vagus feed accum` and `select` of local files: any format, any size, broken ones too."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli.feed_accum import by_lines
from vagus.cli.feed_file import format_with, options_of
from vagus.errors import ConfigError

ACCESS = """10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326 "-" "curl"
10.0.0.2 - bob [10/Oct/2000:13:55:37 -0700] "GET /b HTTP/1.0" 500 12 "-" "curl"
10.0.0.3 - - [10/Oct/2000:13:55:38 -0700] "GET /c HTTP/1.0" 503 x "-" "curl"
"""
REPORT = "Date: 1202486984.7\nVMStat: 1 2 x\nRWFS: 221\n"
FIELDS = 'fields={Date: float, VMStat: "list[int]", RWFS: int}'


@pytest.fixture
def access(tmp_path: Path) -> str:
    path = tmp_path / "access.log"
    path.write_text(ACCESS)
    return str(path)


def ask(*args: str, given: bytes | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["feed", *args], input=given)
    return result.exit_code, result.stdout, result.stderr + str(result.exception or "")


# --- accum -----------------------------------------------------------------------------------------------------------


def test_the_profile_of_a_log(access: str) -> None:
    code, out, _ = ask("accum", access, "--format", "combined_log", "--json")
    found = json.loads(out)
    assert (code, found["items"], found["good"], found["bad"], found["errors"]) == (0, 3, 2, 1, 1)
    places = {place["path"]: place for place in found["places"]}
    assert (places["status"]["min"], places["status"]["max"], places["status"]["distinct"]) == (200, 503, 3)
    assert (places["size_bytes"]["good"], places["size_bytes"]["bad"]) == (2, 1)
    assert places["request.Request.method"]["most"] == [{"value": "GET", "count": 3, "percent": 100.0}]


def test_the_same_for_people_and_as_xml(access: str) -> None:
    _, out, _ = ask("accum", access, "--format", "combined_log")
    assert out.startswith("3 items: 2 good, 1 with errors, 0 failed (33.333 % bad); 1 error\n")
    (line,) = (line for line in out.splitlines() if line.startswith("status "))
    assert line.split()[1:9] == ["int", "3", "0", "0", "200", "503", "401", "3"]
    root = ElementTree.fromstring(ask("accum", access, "--format", "combined_log", "--xml")[1].encode())
    assert (root.tag, root.attrib["format"], root.findtext("items")) == ("feed_accumulator", "combined_log", "3")


def test_a_format_with_options_out_of_a_pipe() -> None:
    code, out, _ = ask("accum", "-", "--format", "entries", "-o", FIELDS, "--json", given=REPORT.encode())
    found = json.loads(out)
    assert (code, found["items"], found["bad"]) == (0, 1, 1)
    assert {place["path"]: place["max"] for place in found["places"]}["RWFS"] == 221


def test_a_file_by_lines_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """60 MB of JSON lines need no more memory than one of them, but for what is read at a time."""
    path = tmp_path / "big.json"
    line = json.dumps({"a": 1, "b": "x" * 9_950}).encode() + b"\n"
    with open(path, "wb") as file:
        for _ in range(60):
            file.write(line * 100)
        file.write(b'{"a": 7, "b')  # no newline at its end, and broken
    small = tmp_path / "small.json"
    small.write_bytes(line)
    code = (
        "import resource, sys; from vagus.cli import cli\n"
        "cli(['feed', 'accum', sys.argv[1], '--format', 'ndjson', '--json'], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)"
    )
    peaks = []
    for file, items in ((small, 1), (path, 6001)):
        command = [sys.executable, "-c", code, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["items"] == items
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 30 << 20


def test_which_formats_are_read_in_parts() -> None:
    assert all(by_lines(format_with(name, ())) for name in ("combined_log", "common_log", "hosts", "ndjson", "syslog"))
    assert not any(by_lines(format_with(name, ())) for name in ("csv", "json", "openmetrics", "comon", "text"))


def test_what_is_wrong_is_one_line_without_a_traceback(access: str, tmp_path: Path) -> None:
    assert ask("accum", access)[0] == 2  # no format
    code, _, error = ask("accum", access, "--format", "combined_lg")
    assert (code, "did you mean combined_log" in error) == (1, True)
    assert "cannot read" in ask("accum", str(tmp_path / "none"), "--format", "text")[2]
    assert "cannot read" in ask("accum", str(tmp_path), "--format", "combined_log")[2]
    assert "expected KEY=VALUE" in ask("accum", access, "--format", "text", "-o", "encoding")[2]
    assert "nope" in ask("accum", access, "--format", "text", "-o", "nope=1")[2]
    assert "does not load" in ask("accum", access, "--format", "no_such_module:Format")[2]


def test_options_are_yaml_and_what_is_no_yaml_is_text() -> None:
    given = options_of(["sep=:", "header=false", "columns={a: int}", "quote=", "n=1"])
    assert given == {"sep": ":", "header": False, "columns": {"a": "int"}, "quote": "", "n": 1}
    with pytest.raises(ConfigError):
        options_of(["=1"])


# --- select ----------------------------------------------------------------------------------------------------------


def test_comons_query_on_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text("name,resptime,drift,sshstatus\na,1,10,0\nb,1,90,0\nc,0,0,0\nd,2,0,9000\ne,3,,\n")
    columns = "columns={name: str, resptime: float, drift: 'float?', sshstatus: 'float?'}"
    query = "resptime>0 && (drift>1m || sshstatus>2h)==0"
    asked = ("select", str(path), query, "--format", "csv", "-o", columns, "--columns", "name,resptime*2,drift==null")
    code, out, _ = ask(*asked, "--csv")
    assert (code, out) == (0, "name,resptime*2,drift==null\na,2.0,false\ne,6.0,true\n")
    code, out, _ = ask(*asked, "--json")
    assert json.loads(out.splitlines()[0]) == {"name": "a", "resptime*2": 2.0, "drift==null": False}


def test_all_plain_fields_without_columns(access: str) -> None:
    code, out, error = ask("select", access, "--where", "status >= 500", "--format", "combined_log")
    head, first, second = out.splitlines()
    assert head.split() == ["host", "ident", "user", "time_s", "request", "status", "size_bytes", "referer", "agent"]
    assert (first.split()[0], second.split()[0]) == ("10.0.0.2", "10.0.0.3")
    assert "1 error; what is broken is null" in error
    assert code == 0


def test_nothing_found_is_said(access: str) -> None:
    code, out, error = ask("select", access, "status == 999", "--format", "common_log")
    assert (code, out) == (0, "")
    assert "no row" in error
    assert ask("select", access, "status == 999", "--format", "combined_log", "--csv")[1].startswith("host,ident")


def test_fields_that_no_row_has_are_said(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text('{"load": 1}\n{"load": 2, "host": "a"}\n')
    _, _, error = ask("select", str(file), "laod > 1 && host == 'a'", "--format", "ndjson", "--columns", "load,nope")
    assert "no row has laod, nope" in error
    assert "no row has" not in ask("select", str(file), "host == 'b'", "--format", "ndjson")[2]


def test_wrong_queries_are_said_with_their_place(access: str) -> None:
    code, _, error = ask("select", access, "status >", "--format", "combined_log")
    assert code == 1
    assert "status >" in error
    code, _, error = ask("select", access, "statsu > 1", "--format", "combined_log")
    assert (code, "did you mean status" in error) == (1, True)
    for args in ((access,), (), (access, "a", "--where", "b"), (access, "--csv", "--json")):
        assert ask("select", *args)[0] == 2
    code, _, error = ask("select", "-", "--format", "json", given=b"{")
    assert (code, "nothing in it is json" in error) == (1, True)


DUMP = "Start: 1 then\nNode: a\n" + "".join(
    f"{n} 0 0 0 0 {n} 1.0 2.0 {cpu} 0.1 0 0 slice{n}\n" for n, cpu in enumerate((0.5, 20.0))
)
DUMP += "\nStart: 1 then\nNode: b\n(null)\n\n"


def test_a_list_within_is_a_row_for_each_of_its_elements_with_what_is_around_it(tmp_path: Path) -> None:
    path = tmp_path / "dump.txt"
    path.write_text(DUMP)
    flat = ("--format", "comon_slices", "--flatten", "slices")
    assert ask("select", str(path), "cpu > 1", *flat, "--columns", "node,name", "--csv")[1] == "node,name\na,slice1\n"
    header, *lines = ask("select", str(path), *flat, "--csv")[1].splitlines()
    assert header.startswith("start,started,node,context,")
    assert [line.split(",")[2] for line in lines] == ["a", "a"]
    for wrong in (("cpux > 1", *flat), ("cpu > 1", *flat[:3], "slice")):
        code, _, error = ask("select", str(path), *wrong)
        assert (code, "there is no field" in error) == (1, True)
    nested = tmp_path / "a.ndjson"
    nested.write_text(json.dumps({"name": "x", "numbers": [1, 2], "hosts": [{"name": "y"}]}) + "\n")
    rows = ask("select", str(nested), "$ > 1", "--format", "ndjson", "--flatten", "numbers", "--json")[1]
    assert json.loads(rows) == 2
    rows = ask("select", str(nested), "--format", "ndjson", "--flatten", "hosts", "--json")[1]
    assert json.loads(rows) == {"name": "y", "numbers": [1, 2]}
