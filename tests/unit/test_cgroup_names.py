"""Who runs in a control group, from paths as kubelet, docker, containerd, cri-o, podman and systemd make them."""

from __future__ import annotations

import pytest

from vagus.cgroup_names import Owner, owner_of

ID = "4c01db0b339ca50b5e9a7b3f8d4a9f6e0c1b2a39485766778899aabbccddeeff"
OTHER = "f" * 64
UID = "3b0b6a1c-8f2e-4f3a-9c57-0d1e2f3a4b5c"
UID_ = UID.replace("-", "_")
PODS = "kubepods.slice/kubepods-burstable.slice"

PATHS = {
    "system.slice/nginx.service": Owner(service="nginx.service"),
    "/system.slice/system-getty.slice/getty@tty1.service": Owner(service="getty@tty1.service"),
    "user.slice/user-1000.slice/user@1000.service/app.slice/web.service": Owner(service="web.service"),
    "user.slice/user-1000.slice/user@1000.service/init.scope": Owner(service="user@1000.service"),
    "user.slice/user-1000.slice/session-3.scope": Owner(service="session-3.scope"),
    "system.slice/dbus-:1.2-org.x.Y@0.service": Owner(service="dbus-:1.2-org.x.Y@0.service"),
    f"docker/{ID}": Owner(container=ID, runtime="docker"),
    f"system.slice/docker-{ID}.scope": Owner(container=ID, runtime="docker"),
    f"system.slice/nerdctl-{ID}.scope": Owner(container=ID, runtime="nerdctl"),
    f"{PODS}/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope": Owner("", UID, ID, "cri-containerd"),
    f"kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope": Owner("", UID, ID, "crio"),
    f"kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container": Owner("", UID, ID, "crio"),
    f"{PODS}/kubepods-burstable-pod{UID_}.slice": Owner(pod=UID),
    f"kubepods/besteffort/pod{UID}/{ID}": Owner("", UID, ID, ""),
    f"kubepods/pod{'a1' * 16}/crio-{ID}": Owner("", "a1" * 16, ID, "crio"),
    f"system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{ID}": Owner(
        "", UID, ID, "cri-containerd"
    ),
    # kind: a node that is a container, with kubelet in it
    f"docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope": (
        Owner("", UID, ID, "cri-containerd")
    ),
    f"machine.slice/libpod-{ID}.scope/container": Owner(container=ID, runtime="libpod"),
    f"libpod_parent/libpod-{ID}": Owner(container=ID, runtime="libpod"),
    f"machine.slice/libpod-conmon-{ID}.scope": Owner(service=f"libpod-conmon-{ID}.scope"),
    f"kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope": Owner(f"crio-conmon-{ID}.scope", UID),
    f"machine.slice/libpod-{ID}.scope/system.slice/nginx.service": Owner("nginx.service", "", ID, "libpod"),
    "": Owner(),
    "/": Owner(),
    "vagus/web": Owner(),
    "kubepods.slice": Owner(),
    "podinfo": Owner(),
    f"docker/{ID[:63]}": Owner(),
    f"docker/{ID.upper()}": Owner(),
    f"kubepods/pod{UID[:-1]}": Owner(),
}


@pytest.mark.parametrize("path", PATHS)
def test_owner(path: str) -> None:
    assert owner_of(path) == PATHS[path]


def test_labels_are_what_is_known() -> None:
    assert owner_of(f"kubepods/pod{UID}/{ID}").labels() == {"pod": UID, "container": ID}
    assert owner_of("vagus/web").labels() == {}
