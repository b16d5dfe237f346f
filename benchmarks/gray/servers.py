"""The servers: programs of Debian's, as they are, each on a host of its own. They know nothing of vagus or of faults."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.gray.hosts import Hosts

FAKETIME = str(next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), "/usr/lib/faketime/libfaketimeMT.so.1"))
POSTGRES_CONNECTIONS = 30
SIGNING_KEY = "a key that both sides know"

_NGINX = """
daemon off; worker_processes 2; user root; pid {folder}/pid; error_log {folder}/error.log;
env FAKETIME_TIMESTAMP_FILE; env FAKETIME_NO_CACHE; env FAKETIME_DONT_FAKE_MONOTONIC;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {data}/incoming; keepalive_requests 1000000;
  server {{
    listen {address}:8080;
    location = /healthz {{ return 200 "ok\\n"; }}
    location /pages/ {{ root {data}; }}
    location /files/ {{ root {data}; dav_methods PUT; create_full_put_path on; }}
    location /signed/ {{
      secure_link $arg_md5,$arg_expires; secure_link_md5 "$secure_link_expires$uri {key}";
      if ($secure_link = "") {{ return 403; }}
      if ($secure_link = "0") {{ return 410; }}
      root {data};
    }}
  }}
}}
"""


class Place(NamedTuple):
    """Where a server is to run. clock: a file that libfaketime is to read, if any; template: what `prepare` made."""

    hosts: Hosts
    host: str
    folder: Path
    data: Path
    template: Path
    clock: Path | None = None

    def start(self, argv: list[str]) -> subprocess.Popen[str]:
        environment = {}
        if self.clock is not None:
            environment = {
                "LD_PRELOAD": FAKETIME,
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        log = (self.folder / "output.log").open("w")
        return self.hosts.start(self.host, argv, environment, stdout=log, stderr=subprocess.STDOUT)


class Server(NamedTuple):
    """A kind of server: the port it listens on, the programs it needs, and how it is started."""

    port: int
    needs: tuple[str, ...]
    start: Callable[[Place], subprocess.Popen[str]]
    prepare: Callable[[Path], None] | None = None


def _nginx(place: Place) -> subprocess.Popen[str]:
    for name in ("pages", "signed", "incoming", "files"):
        (place.data / name).mkdir()
        (place.data / name / "page").write_bytes(b"x" * 4096)
    address = place.hosts.addresses[place.host]
    settings = _NGINX.format(folder=place.folder, data=place.data, address=address, key=SIGNING_KEY)
    (place.folder / "nginx.conf").write_text(settings)
    return place.start(
        ["nginx", "-p", str(place.folder), "-e", f"{place.folder}/error.log", "-c", f"{place.folder}/nginx.conf"]
    )


def _redis(place: Place) -> subprocess.Popen[str]:
    address = place.hosts.addresses[place.host]
    argv = ["redis-server", "--bind", address, "--port", "6379", "--save", "", "--protected-mode", "no"]
    return place.start([*argv, "--dir", str(place.data)])


def _memcached(place: Place) -> subprocess.Popen[str]:
    address = place.hosts.addresses[place.host]
    return place.start(["memcached", "-l", address, "-p", "11211", "-t", "4", "-u", "root", "-m", "16"])


def _postgres_folder() -> Path:
    return Path(max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda found: int(found.parts[-3]))).parent


def _prepare_postgres(template: Path) -> None:
    argv = [str(_postgres_folder() / "initdb"), "--no-sync", "--auth=trust", "--username=app", "--wal-segsize=1"]
    template.mkdir()
    shutil.chown(template, "postgres", "postgres")
    subprocess.run(_as_postgres([*argv, "-D", str(template / "data")]), check=True, stdout=subprocess.DEVNULL)
    with (template / "data" / "pg_hba.conf").open("a") as file:
        file.write("host all all all trust\n")


def _postgres(place: Place) -> subprocess.Popen[str]:
    subprocess.run(["cp", "-a", str(place.template / "data"), str(place.data / "data")], check=True)
    address = place.hosts.addresses[place.host]
    argv = [str(_postgres_folder() / "postgres"), "-D", str(place.data / "data"), "-h", address, "-k", "", "-p", "5432"]
    argv += ["-c", f"max_connections={POSTGRES_CONNECTIONS}", "-c", "shared_buffers=16MB"]
    return place.start(_as_postgres(argv))


def _as_postgres(argv: list[str]) -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv]


SERVERS = {
    "nginx": Server(8080, ("nginx",), _nginx),
    "redis": Server(6379, ("redis-server",), _redis),
    "memcached": Server(11211, ("memcached",), _memcached),
    "postgres": Server(5432, ("/usr/lib/postgresql", "setpriv"), _postgres, _prepare_postgres),
}


def missing(needs: tuple[str, ...]) -> list[str]:
    """Programs and files that this machine has not."""
    return [name for name in needs if not (Path(name).exists() if name.startswith("/") else shutil.which(name))]
