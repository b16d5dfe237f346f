"""A step that sets a tunable of a running service, by the unix socket on which the service listens.

path is the socket; value is JSON: service, instance, name, value; part is SERVICE/INSTANCE/NAME, since a process has one socket for all.
A request and its answer are one line of JSON each; a service that has ended has nothing to be undone.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import time
from typing import Any

from vagus.errors import Rejected
from vagus.undo import Step

TIMEOUT_S = 5.0
MAX_LINE_BYTES = 64 << 10
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
_ENDED = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE)


def tunable(step: Step) -> None:
    """Raises OSError (ESRCH: the service has ended), Rejected with the service's words."""
    try:
        told = json.loads(step.value)
        message = {"do": "set", **{key: told[key] for key in ("service", "instance", "name", "value")}}
    except (ValueError, TypeError, KeyError) as error:
        raise Rejected(step.path, step.value[:200], f"the step is malformed: {error}") from error
    answer = ask(step.path, message)
    if answer.get("gone"):
        raise OSError(errno.ESRCH, str(answer.get("error"))[:500])
    if "value" not in answer:
        raise Rejected(step.path, str(told["value"])[:100], f"{step.part}: {answer.get('error')}"[:500])


def ask(path: str, message: dict[str, Any], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The answer of the service behind a socket. Raises OSError: ENOENT, ESRCH when it has ended, ETIMEDOUT when it
    does not answer, EACCES when another user listens there, EPROTO when it speaks something else."""
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(path)
            _check_peer(sock, path)
            sock.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                data = sock.recv(MAX_LINE_BYTES)
                line += data
                if not data or len(line) > MAX_LINE_BYTES:
                    break
        except TimeoutError as error:
            raise OSError(
                errno.ETIMEDOUT, f"the service behind {path} did not answer within {timeout_s:g} s"
            ) from error
        except OSError as error:
            if error.errno in _ENDED:
                raise OSError(errno.ESRCH, f"the service behind {path} has ended") from error
            raise
    if not line:
        raise OSError(errno.ESRCH, f"the service behind {path} ended before it answered")
    try:
        answer = json.loads(line)
        if line.endswith(b"\n") and isinstance(answer, dict):
            return answer
    except (ValueError, RecursionError):
        pass
    raise OSError(errno.EPROTO, f"what listens at {path} is no service with tunables")


def _check_peer(sock: socket.socket, path: str) -> None:
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if uid != os.geteuid():
        raise OSError(errno.EACCES, f"user {uid} listens at {path}, not {os.geteuid()}")
