"""Jobs of the cluster: Ray's job server, asked over HTTP with Ray's token; no connection of a driver is made."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vagus.errors import NoData, PeerUnreachable, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.connect import check_head, driver_environment

T = TypeVar("T")
TIMEOUT_S = 30.0
STOP_GRACE_S = 20  # Ray's own are 3: restoring through a busy watchdog may take longer
SERVER = "RAY_API_SERVER_ADDRESS"
CONTROLLER = "vagus.controller"
POLL_S = 0.2
BREAKS = 5  # of following a log, in a row
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class Job(msgspec.Struct, frozen=True):
    """A submitted job. status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED; times 0: not yet, or not known."""

    id: str
    status: str
    controller: str  # empty: it was not submitted by `vagus submit`
    entrypoint: str
    message: str = ""
    start_ns: int = 0
    end_ns: int = 0


class Jobs:
    """client: of ray.job_submission. Methods raise NoData (no such job), PeerUnreachable, VagusError."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, entrypoint: str, folder: Path, controller: str) -> str:
        """Sends a folder and has the shell command run in it; returns the job's id."""
        environment = {"working_dir": str(folder), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_S)}}
        metadata = {CONTROLLER: controller}
        return str(
            _asked(lambda: self._client.submit_job(entrypoint=entrypoint, runtime_env=environment, metadata=metadata))
        )

    def info(self, job_id: str) -> Job:
        """What is known of a job."""
        return _job(_asked(lambda: self._client.get_job_info(job_id), job_id), job_id)

    def all(self) -> list[Job]:
        """The jobs that were submitted, by anyone, the oldest first."""
        found = [_job(one, one.submission_id) for one in _asked(self._client.list_jobs) if one.submission_id]
        return sorted(found, key=lambda job: job.start_ns)

    def stop(self, job_id: str) -> bool:
        """Asks a job to end, which takes a moment; False when it had ended before."""
        return bool(_asked(lambda: self._client.stop_job(job_id), job_id))

    def ended(self, job_id: str, within_s: float = STOP_GRACE_S + 10.0) -> Job:
        """Waits for the end of a job that was asked to end. Raises VagusError: it has not."""
        deadline_s = time.monotonic() + within_s
        while (job := self.info(job_id)).status not in ENDED:
            if time.monotonic() > deadline_s:
                raise VagusError(f"{job_id} is {job.status.lower()} still, {within_s:.0f} s after it was to end")
            time.sleep(POLL_S)
        return job

    def log(self, job_id: str) -> str:
        """All that a job has written so far."""
        return str(_asked(lambda: self._client.get_job_logs(job_id), job_id))

    def follow(self, job_id: str, say: Callable[[str], None]) -> Job:
        """Gives `say` what a job writes, each piece once, until it has ended; then the job. Ctrl-C leaves it running."""
        return asyncio.run(self._follow(job_id, say))

    async def _follow(self, job_id: str, say: Callable[[str], None]) -> Job:
        self.info(job_id)  # a wrong id is told before anything is waited for
        said = breaks = 0
        while True:
            passed, broken = 0, False
            try:
                async for text in self._client.tail_job_logs(job_id):
                    new = text[max(0, said - passed) :]  # a log that is followed anew begins at its beginning
                    passed += len(text)
                    if new:
                        said, breaks = max(said, passed), 0
                        say(new)
            except Exception as error:  # its web socket broke, which Ray and aiohttp tell in many ways
                breaks, broken = breaks + 1, True
                if breaks >= BREAKS:
                    raise PeerUnreachable(
                        f"the log of {job_id} cannot be followed: {error}; the job goes on"
                    ) from error
            job = self.info(job_id)
            if job.status in ENDED:
                if broken and (rest := self.log(job_id)[said:]):
                    say(rest)
                return job
            await asyncio.sleep(POLL_S * 2**breaks)


@contextmanager
def jobs(home: Path) -> Iterator[Jobs]:
    """The job server of this machine's cluster, or the one at $RAY_API_SERVER_ADDRESS. Raises PeerUnreachable."""
    cluster = ray_cluster.read(home)
    if cluster is None and SERVER not in os.environ:
        raise PeerUnreachable(
            f"no running vagus found under {home}: run `vagus up`, or set {SERVER} to the URL of a cluster's dashboard"
        )
    with driver_environment(_environment(home, cluster)):
        yield Jobs(_client(cluster))


def here(home: Path) -> bool:
    """Whether jobs run on this machine with this Python: `vagus up` started the head, and no other server is named."""
    cluster = ray_cluster.read(home)
    return SERVER not in os.environ and cluster is not None and bool(cluster.dashboard)


def _environment(home: Path, cluster: ClusterFile | None) -> Mapping[str, str]:
    if cluster is None:
        given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        return {"RAY_AUTH_MODE": "token"} if given else {}
    env = ray_cluster.environment(home, cluster)
    return env if SERVER in env or not cluster.dashboard else {**env, SERVER: cluster.dashboard}


def _client(cluster: ClusterFile | None) -> Any:
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        """Ray's, which waits for ever, and asks aiohttp for TLS in a way that is no more."""

        def __init__(self, address: str | None) -> None:
            super().__init__(address)
            self._ssl_context: Any = self._ssl_context if self._ssl_context is not None else True

        def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": TIMEOUT_S, **more})

    server = os.environ.get(SERVER, "")
    if not server and cluster is not None:
        check_head(cluster.address)  # where the dashboard is, Ray's head knows
    try:
        return Client(server or (cluster.address if cluster is not None else None))
    except Exception as error:  # connections, tokens, versions: of many kinds
        raise PeerUnreachable(
            f"no job server at {server or 'the head of ' + (cluster.address if cluster else '?')}: {_line(error)}; it is "
            "part of Ray's dashboard, which listens on the head's loopback alone: submit there, or open a tunnel (ssh -L "
            f"8265:127.0.0.1:8265 HEAD) and set {SERVER}=http://127.0.0.1:8265; without a dashboard, `vagus run` on a node "
            "does the same"
        ) from error


def _asked(question: Callable[[], T], job_id: str = "") -> T:
    try:
        return question()
    except Exception as error:  # of requests, of Ray, RuntimeError for any answer but 200
        text = _line(error)
        if job_id and ("404" in text or "does not exist" in text):
            raise NoData(f"there is no job {job_id[:80]!r}; `vagus job list` shows those that there are") from error
        if isinstance(error, OSError):
            raise PeerUnreachable(f"the job server does not answer: {text}; does Ray's dashboard run?") from error
        raise VagusError(f"the job server refused: {text}") from error


def _line(error: BaseException) -> str:
    """The first line of what Ray says, or the error's name."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _job(info: Any, job_id: str) -> Job:
    def ns(milliseconds: Any) -> int:
        return int(milliseconds or 0) * 10**6

    return Job(
        id=job_id,
        status=str(getattr(info.status, "value", info.status)),
        controller=str((info.metadata or {}).get(CONTROLLER, "")),
        entrypoint=str(info.entrypoint),
        message=str(info.message or ""),
        start_ns=ns(info.start_time),
        end_ns=ns(info.end_time),
    )
