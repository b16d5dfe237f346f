"""An sshd of its own on some loopback addresses, for as long as a command runs; the key is made for it and for nothing else.

    python loopback.py [--port 2222] [--at 127.0.0.1,127.0.0.2] vagus feed run pulse.yaml --once

Writes `ssh_config` into the current folder, which `ssh -F ssh_config HOST` reads, and removes it afterwards. Needs
Debian's openssh-server and openssh-client. The key may do nothing but `uptime`.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

START_S = 10.0
SSHD = """\
Port {port}
{listen}
HostKey {keys}/host
AuthorizedKeysFile {keys}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
"""
SSH = """\
Host *
  Port {port}
  User {user}
  IdentityFile {keys}/user
  IdentitiesOnly yes
  UserKnownHostsFile {keys}/known
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
  LogLevel ERROR
"""


def sshd_path() -> str | None:
    """Where sshd is: often in a folder that only root has on PATH."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def serving(folder: Path, addresses: Sequence[str], port: int = 0) -> Iterator[int]:
    """Runs sshd at these addresses, `folder`/ssh_config leads there; gives its port. Raises RuntimeError."""
    sshd = sshd_path()
    if sshd is None or shutil.which("ssh") is None:
        raise RuntimeError("there is no sshd, or no ssh: apt-get install openssh-server openssh-client")
    port = port or _free_port(addresses)
    config = folder / "ssh_config"
    with tempfile.TemporaryDirectory(prefix="pulse-") as made:
        keys = Path(made)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
        (keys / "authorized").write_text(f'restrict,command="uptime" {(keys / "user.pub").read_text()}')
        host = " ".join((keys / "host.pub").read_text().split()[:2])
        (keys / "known").write_text("".join(f"[{address}]:{port} {host}\n" for address in addresses))
        listen = "\n".join(f"ListenAddress {address}" for address in addresses)
        (keys / "sshd_config").write_text(SSHD.format(port=port, listen=listen, keys=keys))
        config.write_text(SSH.format(port=port, user=getpass.getuser(), keys=keys))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)  # as its service does: sshd of root asks for it
        with subprocess.Popen([sshd, "-D", "-e", "-f", str(keys / "sshd_config")], stderr=subprocess.PIPE) as process:
            try:
                _wait(process, addresses, port)
                yield port
            finally:
                process.terminate()
                config.unlink(missing_ok=True)


def _free_port(addresses: Sequence[str]) -> int:
    with socket.create_server((addresses[0], 0)) as probe:
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], addresses: Sequence[str], port: int) -> None:
    """Until all addresses answer."""
    deadline = time.monotonic() + START_S
    for address in addresses:
        while True:
            if process.poll() is not None:
                assert process.stderr is not None
                raise RuntimeError(f"sshd ended: {process.stderr.read().decode(errors='replace')[-500:]}")
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1.0):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"sshd does not answer at {address}:{port}")
            time.sleep(0.02)


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="of sshd; 0: a free one")
    parser.add_argument("--at", default="127.0.0.1,127.0.0.2", help="addresses")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("which command is to run?")
    try:
        with serving(Path.cwd(), given.at.split(","), given.port):
            return subprocess.run(given.command, check=False).returncode
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
