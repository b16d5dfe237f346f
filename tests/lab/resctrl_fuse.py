"""A resctrl file system in user space (FUSE), that behaves as the kernel's: for machines without RDT.

    python tests/lab/resctrl_fuse.py MOUNTPOINT [--profile intel]

serves until its standard input ends. `mounted` is the same for tests. A word to the machine behind it goes into the
unlisted file `.machine`: `says 0 llc_occupancy Unavailable`, `hears 0 llc_occupancy`.
Behaviour: tests/fixtures/resctrl_kernel.py. Needs fuse3 and mfusepy, and /dev/fuse.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S = 20.0
_ENDED_BY_SIGNAL = 8  # what fuse_main returns


def missing() -> str:
    """What this machine lacks; empty when file systems can be mounted."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no /dev/fuse here (or no right to it)"
    if shutil.which("fusermount3") is None:
        return "fusermount3 is missing: apt install fuse3"
    if os.geteuid() != 0:
        return "mounting for all users needs root"
    try:
        import mfusepy  # noqa: F401
    except (ImportError, OSError) as error:
        return f"mfusepy does not load: {error}"
    return ""


@contextlib.contextmanager
def mounted(point: Path, profile: str = "intel") -> Iterator[Path]:
    """A mounted file system; unmounted, and its process ended, at the end."""
    point.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, __file__, str(point), "--profile", profile],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        line = server.stdout.readline()
        if line != "ready\n":
            raise RuntimeError(f"the file system did not start: {line!r}, exit {server.poll()}")
        yield point
    finally:
        server.stdin.close()
        try:
            server.wait(START_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()
        if os.path.ismount(point):
            subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False)


def tell(point: Path, words: str) -> None:
    """A word to the machine behind it."""
    (point / ".machine").write_text(words + "\n")


def serve(point: str, profile: str) -> None:
    """Until standard input ends or SIGTERM."""
    sys.path.insert(0, str(ROOT))
    import mfusepy

    from tests.fixtures.resctrl_kernel import Kernel
    from tests.fixtures.resctrl_machines import PROFILES
    from tests.fixtures.resctrl_tasks import ProcTasks

    kernel = Kernel(PROFILES[profile], ProcTasks(), time.monotonic_ns)

    class Tree(mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

        def __init__(self) -> None:
            self._shown: dict[int, bytes] = {}  # what an open file shows, made when it is first read
            self._handles = 0

        def init(self, path: str) -> None:
            print("ready", flush=True)
            threading.Thread(target=_until_closed, daemon=True).start()

        def getattr(self, path: str, fi: object = None) -> dict[str, int]:
            if path == "/.machine":
                return {"st_mode": 0o100222, "st_nlink": 1, "st_size": 0}
            mode, uid, gid = kernel.stat(path)
            return {"st_mode": mode, "st_nlink": 1, "st_size": 0, "st_uid": uid, "st_gid": gid}

        def readdir(self, path: str, fi: object) -> list[str]:
            return [".", "..", *(kernel.folder(path) or [])]

        def open(self, path: str, fi: mfusepy.fuse_file_info) -> int:
            self._handles += 1
            fi.fh = self._handles
            fi.direct_io = 1  # sizes are 0, and each read asks anew
            return 0

        def read(self, path: str | None, size: int, offset: int, fi: mfusepy.fuse_file_info) -> bytes:
            if path is None:  # removed since it was opened: kernfs has no active reference to give
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            if offset == 0 or fi.fh not in self._shown:
                self._shown[fi.fh] = kernel.read(path).encode()
            return self._shown[fi.fh][offset : offset + size]

        def release(self, path: str, fi: mfusepy.fuse_file_info) -> int:
            self._shown.pop(fi.fh, None)
            return 0

        def write(self, path: str | None, data: bytes, offset: int, fi: object) -> int:
            if path is None:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            if path == "/.machine":
                self._told(data.decode().split())
            else:
                kernel.write(path, data, mfusepy.fuse_get_context()[0])
            return len(data)

        def _told(self, words: list[str]) -> None:
            if words[0] == "says":
                kernel.says[int(words[1]), words[2]] = words[3]
            elif words[0] == "hears":
                kernel.says.pop((int(words[1]), words[2]), None)
            else:
                raise OSError(errno.EINVAL, words[0])

        def truncate(self, path: str, length: int, fi: object = None) -> int:
            return 0

        def mkdir(self, path: str, mode: int) -> int:
            uid, gid, _ = mfusepy.fuse_get_context()
            kernel.mkdir(path, (uid, gid))
            return 0

        def rmdir(self, path: str) -> int:
            kernel.rmdir(path)
            return 0

        def rename(self, old: str, new: str) -> int:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        def unlink(self, path: str) -> int:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        def create(self, path: str, mode: int, fi: object) -> int:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    options = {"raw_fi": True, "foreground": True, "nothreads": True, "allow_other": True, "default_permissions": True}
    try:
        mfusepy.FUSE(Tree(), point, fsname="resctrl", subtype="resctrl", **options)
    except RuntimeError as error:
        if error.args != (_ENDED_BY_SIGNAL,):
            raise


def _until_closed() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # libfuse unmounts and returns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mountpoint")
    parser.add_argument("--profile", default="intel")
    options = parser.parse_args()
    serve(options.mountpoint, options.profile)


if __name__ == "__main__":
    main()
