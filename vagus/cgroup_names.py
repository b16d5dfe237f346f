"""Who runs in a control group, read from its path: systemd's unit, a Kubernetes pod, a container. Pure.

Paths as kubelet (drivers cgroupfs and systemd), docker, containerd, cri-o, podman, nerdctl and systemd make them:

    /system.slice/nginx.service                                            a unit
    /system.slice/docker-ID.scope, /docker/ID                              docker
    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/cri-containerd-ID.scope    kubelet, systemd
    /kubepods/besteffort/podUID/ID                                         kubelet, cgroupfs
    /system.slice/containerd.service/kubepods-podUID.slice:cri-containerd:ID    containerd that was told the other driver
    /machine.slice/libpod-ID.scope, /libpod_parent/libpod-ID               podman

Sources: kubelet's cm/cgroup_manager_linux.go (names and escaping), cri-o's and podman's cgroup managers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# An id is 64 hexadecimal digits; beside the container some run a monitor of it in a group of its own.
_CONTAINER = re.compile(r"(?:(?P<by>[A-Za-z][A-Za-z0-9_.-]*)[-:])?(?P<id>[0-9a-f]{64})(?:\.scope)?\Z")
# A UUID, in systemd's slices with _ for -; of static pods a hash of 32 digits.
_HEX = r"[0-9a-f]"
_UID = rf"(?P<uid>{_HEX}{{8}}(?:[-_]{_HEX}{{4}}){{3}}[-_]{_HEX}{{12}}|{_HEX}{{32}})"
_POD = re.compile(rf"(?:(?:[A-Za-z0-9_.-]*-)?pod){_UID}(?:\.slice)?\Z")
_UNIT = re.compile(r"[^/]+\.(?:service|scope)\Z")
_JOINED = re.compile(r":[A-Za-z0-9_.-]+:[0-9a-f]{64}\Z")
_MONITOR = "conmon"


class Owner(NamedTuple):
    """What a group's path says of it; empty where it says nothing.

    service: systemd's unit, such as `nginx.service`, verbatim (escapes as `\\x2d` kept); of a container's scope it is
    empty. pod: its UID with dashes. container: its id, 64 digits. runtime: who made the container (docker,
    cri-containerd, crio, libpod …), empty where the path does not say.
    """

    service: str = ""
    pod: str = ""
    container: str = ""
    runtime: str = ""

    def labels(self) -> dict[str, str]:
        """Those that are known, as labels of streams: service, pod, container."""
        found = {"service": self.service, "pod": self.pod, "container": self.container}
        return {name: value for name, value in found.items() if value}


def owner_of(path: str) -> Owner:
    """Who owns the group at this path below its hierarchy's root; the innermost counts (containers run in units)."""
    service = pod = container = runtime = before = ""
    for part in path.split("/"):
        slice_, *scope = part.split(":", 1) if _JOINED.search(part) else [part]
        for name in (slice_, *scope):
            found_pod, found = _POD.match(name), _CONTAINER.match(name)
            if found_pod is not None:
                service = container = runtime = ""
                pod = found_pod["uid"].replace("_", "-")
            elif found is not None and not (found["by"] or "").endswith(_MONITOR):
                service, container = "", found["id"]
                runtime = found["by"] or ("" if pod else before)
            elif _UNIT.match(name) and not (service and name == "init.scope"):
                service = name
        before = part
    return Owner(service, pod, container, runtime)
