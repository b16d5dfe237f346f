"""Pods resized in place through an API server that is checked against the published API."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
kube = pytest.importorskip("kube_api")

from vagus.actuators import ACTUATORS, Plan  # noqa: E402
from vagus.actuators.api_server import ApiServer  # noqa: E402
from vagus.actuators.apply import apply  # noqa: E402
from vagus.actuators.pod import Pod  # noqa: E402
from vagus.config import ActSettings, KubernetesSettings  # noqa: E402
from vagus.errors import ActuateError, Rejected, Unsupported  # noqa: E402
from vagus.model import Action, Target  # noqa: E402
from vagus.undo import Step, undo  # noqa: E402
from vagus.watchdog import Journal  # noqa: E402

WEB = Target("pod", "shop/web-0")
MIB = 1 << 20


@pytest.fixture
def api() -> Iterator[object]:
    server = kube.KubeApi()
    server.add(kube.pod())
    yield server
    server.close()


def actuator(api: object, **settings: object) -> Pod:
    made = Pod()
    chosen = {"token_file": "", "ca_file": "", "within": "2s", **settings}
    made.configure(ActSettings(kubernetes=KubernetesSettings(url=api.url, **chosen)), Path("/nonexistent"))
    return made


def limits(api: object, name: str = "web-0") -> dict[str, str]:
    return api.pods["shop", name]["spec"]["containers"][0]["resources"]


def test_a_limit_is_changed_read_back_and_restored(api):
    pods = actuator(api)
    before = copy.deepcopy(api.pods["shop", "web-0"])
    assert pods.supports(WEB) == ("cpu_cores", "memory_bytes")
    assert pods.read(WEB, "cpu_cores") == 0.5
    assert pods.read(WEB, "memory_bytes") == 128 * MIB
    plan = pods.plan(Action(WEB, "cpu_cores", 1.25))
    assert api.pods["shop", "web-0"] == before, "planning changes nothing"
    apply(plan)
    assert pods.read(WEB, "cpu_cores") == 1.25
    assert plan.shown(1.25)
    assert limits(api) == {"limits": {"cpu": "1250m", "memory": "128Mi"}, "requests": {"cpu": "250m", "memory": "64Mi"}}
    assert undo(plan.undo) == []
    assert limits(api) == before["spec"]["containers"][0]["resources"]
    assert pods.read(WEB, "cpu_cores") == 0.5


def test_a_request_never_stays_above_the_limit(api):
    pods = actuator(api)
    plan = pods.plan(Action(WEB, "cpu_cores", 0.1))
    apply(plan)
    assert limits(api)["requests"]["cpu"] == limits(api)["limits"]["cpu"] == "100m"
    assert undo(plan.undo) == []
    assert limits(api)["requests"]["cpu"] == "250m"


def test_of_a_guaranteed_pod_requests_and_limits_move_together(api):
    both = {"cpu": "1", "memory": "1Gi"}
    api.add(kube.pod("db-0", containers={"db": (both, both)}))
    pods, target = actuator(api), Target("pod", "shop/db-0/db")
    apply(pods.plan(Action(target, "memory_bytes", 1.5 * 1024 * MIB)))
    assert limits(api, "db-0")["limits"]["memory"] == limits(api, "db-0")["requests"]["memory"] == "1536Mi"
    assert pods.read(target, "memory_bytes") == 1.5 * 1024 * MIB


def test_the_quality_of_service_never_changes(api):
    api.add(
        kube.pod("half", containers={"app": ({"cpu": "250m", "memory": "64Mi"}, {"cpu": "500m", "memory": "64Mi"})})
    )
    with pytest.raises(
        Rejected, match="from Burstable to Guaranteed, which a resize may not; keep the cpu limit above 250m"
    ):
        actuator(api).plan(Action(Target("pod", "shop/half"), "cpu_cores", 0.25))


def test_a_container_is_named_where_there_are_several(api):
    one = ({"cpu": "100m", "memory": "32Mi"}, {"cpu": "200m", "memory": "64Mi"})
    api.add(kube.pod("two", containers={"app": one, "proxy": one}))
    pods = actuator(api)
    with pytest.raises(Unsupported, match="pod:shop/two/app; it has app, proxy"):
        pods.read(Target("pod", "shop/two"), "cpu_cores")
    with pytest.raises(Unsupported, match="name one of its containers"):
        pods.read(Target("pod", "shop/two/cache"), "cpu_cores")
    plan = pods.plan(Action(Target("pod", "shop/two/proxy"), "cpu_cores", 0.4))
    apply(plan)
    assert pods.read(Target("pod", "shop/two/proxy"), "cpu_cores") == 0.4
    assert pods.read(Target("pod", "shop/two/app"), "cpu_cores") == 0.2


def test_what_cannot_be_undone_is_not_done(api):
    """A limit that is set cannot be removed; before 1.34 a memory limit that was raised cannot be lowered."""
    api.add(kube.pod("free", containers={"app": ({"cpu": "100m"}, {})}))
    with pytest.raises(Unsupported, match="no cpu limit: one that is set in place cannot be removed"):
        actuator(api).plan(Action(Target("pod", "shop/free"), "cpu_cores", 1.0))
    with pytest.raises(Unsupported, match="cannot be removed in place"):
        actuator(api).plan(Action(WEB, "cpu_cores", None))
    assert actuator(api).read(Target("pod", "shop/free"), "cpu_cores") is None
    api.minor = 33
    with pytest.raises(Unsupported, match=r"before Kubernetes 1\.34"):
        actuator(api).plan(Action(WEB, "memory_bytes", 256 * MIB))
    with pytest.raises(Rejected, match="memory limits cannot be decreased unless resizePolicy is RestartContainer"):
        actuator(api).plan(Action(WEB, "memory_bytes", 100 * MIB))


def test_a_restart_is_not_risked_unless_it_is_allowed(api):
    api.add(kube.pod("java", policies={"memory": "RestartContainer"}))
    target = Target("pod", "shop/java")
    assert actuator(api).supports(target) == ("cpu_cores",)
    with pytest.raises(Unsupported, match=r"set act\.kubernetes\.restart: true"):
        actuator(api).plan(Action(target, "memory_bytes", 256 * MIB))
    apply(actuator(api, restart=True).plan(Action(target, "memory_bytes", 256 * MIB)))
    assert limits(api, "java")["limits"]["memory"] == "256Mi"


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 0.0001])
def test_values_that_are_no_limits(api, value):
    with pytest.raises(Rejected, match="finite number above 0"):
        actuator(api).plan(Action(WEB, "cpu_cores", value))
    assert not any(method == "PATCH" for method, _, _ in api.requests)


# --- what the server refuses, and how the kubelet answers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message", "found"),
    [
        (
            403,
            'pods "web-0" is forbidden: exceeded quota: q, requested: limits.cpu=500m',
            "403 Forbidden: .*exceeded quota.*patch",
        ),
        (409, "Operation cannot be fulfilled on pods", "409 Conflict: Operation cannot be fulfilled"),
        (500, "etcdserver: request timed out", "500 Internal Server Error: etcdserver"),
    ],
)
def test_the_servers_words_are_quoted(api, code, message, found):
    before = copy.deepcopy(api.pods)
    api.refuse = kube.Refusal(code, message)
    with pytest.raises(Rejected, match=found):
        actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    plan = actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    api.refuse = kube.Refusal(code, message)
    with pytest.raises(Rejected, match=found.partition(".*")[0]):
        apply(plan)
    assert {key: told["spec"] for key, told in api.pods.items()} == {key: told["spec"] for key, told in before.items()}


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Infeasible", "Node didn't have enough capacity: cpu, requested: 9000, capacity: 4000"),
        ("Deferred", "Node didn't have enough resource: cpu, requested: 1000, used: 3900, capacity: 4000"),
    ],
)
def test_a_resize_that_the_kubelet_cannot_do_is_taken_back(api, reason, message):
    pods, before = actuator(api), copy.deepcopy(limits(api))

    def kubelet(found):
        kube.drop(found, "PodResizePending")
        if found["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1":
            kube.pending(found, reason, message)

    api.kubelet = kubelet
    with pytest.raises(Rejected, match=f"the kubelet: {reason}: Node didn't have enough"):
        apply(pods.plan(Action(WEB, "cpu_cores", 1.0)))
    assert limits(api) == before
    assert pods.read(WEB, "cpu_cores") == 0.5


def test_a_resize_that_needs_more_than_the_node_has(api):
    big = {"cpu": "1", "memory": "1Gi"}
    api.add(kube.pod("db-0", containers={"db": (big, big)}))
    with pytest.raises(Rejected, match="Infeasible: Node didn't have enough capacity: cpu, requested: 9000"):
        apply(actuator(api).plan(Action(Target("pod", "shop/db-0"), "cpu_cores", 9.0)))
    assert limits(api, "db-0")["limits"]["cpu"] == "1"


def test_an_error_in_progress_is_quoted(api):
    def kubelet(found):
        kube.drop(found, "PodResizeInProgress")
        if found["spec"]["containers"][0]["resources"]["limits"]["memory"] == "70Mi":
            text = "attempting to set pod memory limit below current usage"
            kube.condition(found, "PodResizeInProgress", "Error", text)

    api.kubelet = kubelet
    with pytest.raises(Rejected, match="Error: attempting to set pod memory limit below current usage"):
        apply(actuator(api).plan(Action(WEB, "memory_bytes", 70 * MIB)))
    assert limits(api)["limits"]["memory"] == "128Mi"


def test_it_is_waited_for_while_it_is_in_progress(api):
    looks = []

    def kubelet(found):
        kube.condition(found, "PodResizeInProgress", "", "")

    api.kubelet = kubelet
    plan = actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    route = api._route

    def slow(method, *rest):
        told = route(method, *rest)
        if method == "GET":
            looks.append(told["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"])
            if len(looks) == 3:
                api.resizes(api.pods["shop", "web-0"])
        return told

    api._route = slow
    apply(plan)
    assert looks == ["500m", "500m", "500m", "1"]


def test_a_condition_of_an_earlier_wish_is_not_taken_for_an_answer(api):
    found = api.pods["shop", "web-0"]
    kube.pending(found, "Infeasible", "an earlier wish")
    apply(actuator(api).plan(Action(WEB, "cpu_cores", 1.0)))
    assert actuator(api).read(WEB, "cpu_cores") == 1.0


def test_one_that_the_kubelet_forgets_is_taken_back_in_time(api):
    api.kubelet = lambda found: None
    with pytest.raises(Rejected, match=r"not done within 0.1 s, it is 0.5 still"):
        apply(actuator(api, within="0.1s").plan(Action(WEB, "cpu_cores", 1.0)))
    assert limits(api)["limits"]["cpu"] == "500m"


def test_an_old_condition_without_a_generation_is_told_at_the_end(api):
    def kubelet(found):
        kube.condition(found, "PodResizePending", "Infeasible", "too big", observed=False)

    api.kubelet = kubelet
    with pytest.raises(Rejected, match="Infeasible: too big"):
        apply(actuator(api, within="0.1s").plan(Action(WEB, "cpu_cores", 1.0)))


# --- undo --------------------------------------------------------------------------------------------------------------


def test_another_pod_of_that_name_is_left_alone(api):
    plan = actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    apply(plan)
    other = kube.pod()
    other["metadata"]["uid"] = "another"
    other["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "3"
    api.pods["shop", "web-0"] = other
    assert undo(plan.undo) == [], "the pod that was limited is gone, and its limit with it"
    assert limits(api)["limits"]["cpu"] == "3"
    del api.pods["shop", "web-0"]
    assert undo(plan.undo) == []


def test_a_server_that_is_away_is_a_failure_and_not_the_pods_end(api):
    plan = actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    apply(plan)
    api.close()
    [(_, why)] = undo(plan.undo)
    assert "Connection refused" in why


def test_undo_steps_name_no_secret_but_its_file(api, tmp_path):
    api.token = "swordfish"
    token = tmp_path / "token"
    token.write_text("swordfish\n")
    plan = actuator(api, token_file=str(token)).plan(Action(WEB, "cpu_cores", 1.0))
    assert "swordfish" not in repr(plan)
    apply(plan)
    token.write_text("rotated")
    api.token = "rotated"
    assert undo(plan.undo) == []
    token.unlink()
    [(_, why)] = undo(plan.undo)
    assert f"the token file {token} cannot be read" in why


# --- targets and means -------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said(api, tmp_path):
    pods = actuator(api)
    with pytest.raises(ActuateError, match='pod:shop/nope does not exist: 404 Not Found: pods "nope" not found'):
        pods.read(Target("pod", "shop/nope"), "cpu_cores")
    with pytest.raises(Unsupported, match="cannot limit llc_ways"):
        pods.read(WEB, "llc_ways")
    with pytest.raises(Unsupported, match="resizes pod:NAMESPACE/NAME"):
        pods.plan(Action(Target("pid", "1"), "cpu_cores", 1.0))
    for wrong in ("a/b/c/d", "a//c", "/b"):
        with pytest.raises(Unsupported, match="is not pod:NAMESPACE/NAME"):
            pods.supports(Target("pod", wrong))
    with pytest.raises(Unsupported, match="names no namespace, and this is no pod"):
        pods.supports(Target("pod", "web-0"))
    api.token = "secret"
    with pytest.raises(Unsupported, match=r"allows it not: 401 Unauthorized.*patch` on pods/resize"):
        pods.read(WEB, "cpu_cores")
    with pytest.raises(Unsupported, match=r"act\.kubernetes\.url is not set"):
        ACTUATORS.make("pod", tmp_path).read(WEB, "cpu_cores")


def test_before_1_33_pods_cannot_be_resized(api):
    api.minor = 32
    with pytest.raises(Rejected, match=r"pods can be resized since Kubernetes 1\.33"):
        actuator(api).plan(Action(WEB, "cpu_cores", 1.0))


def test_a_node_that_cannot_resize_shows_no_resources(api):
    del api.pods["shop", "web-0"]["status"]["containerStatuses"][0]["resources"]
    with pytest.raises(ActuateError, match="does not run, or its node cannot resize"):
        actuator(api).read(WEB, "cpu_cores")


def test_within_a_pod_the_environment_says_where_the_server_is():
    def url(**environment):
        return ApiServer(KubernetesSettings(), environment).url

    assert url(KUBERNETES_SERVICE_HOST="10.0.0.1") == "https://10.0.0.1:443"
    assert url(KUBERNETES_SERVICE_HOST="fd00::1", KUBERNETES_SERVICE_PORT="6443") == "https://[fd00::1]:6443"
    assert KubernetesSettings().token_file == "/var/run/secrets/kubernetes.io/serviceaccount/token"


# --- the published API -------------------------------------------------------------------------------------------------


def test_the_official_client_and_this_one_ask_the_same_server_for_the_same(api):
    """patch_namespaced_pod_resize is generated from the published description: its path, its verbs, its types."""
    from kubernetes import client

    configuration = client.Configuration()
    configuration.host = api.url
    core = client.CoreV1Api(client.ApiClient(configuration))
    change = {"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": "750m"}}}]}}
    told = core.patch_namespaced_pod_resize("web-0", "shop", change, _content_type=kube.STRATEGIC)
    assert told.status.container_statuses[0].resources.limits["cpu"] == "750m"
    theirs = api.requests[-1]
    apply(actuator(api).plan(Action(WEB, "cpu_cores", 0.8)))
    ours = [one for one in api.requests if one[0] == "PATCH"][-1]
    assert ours[:2] == theirs[:2]
    patched = ours[2]["spec"]["containers"][0]
    kube.check({"containers": [patched]}, "V1PodSpec")
    assert core.read_namespaced_pod("web-0", "shop").spec.containers[0].resources.limits["cpu"] == "800m"


def test_the_fake_refuses_what_is_not_published():
    with pytest.raises(AssertionError, match="not the published V1Pod"):
        kube.check({"kind": "Pod", "spec": {"containers": [{"name": "a", "resourses": {}}]}}, "V1Pod")


def test_the_plan_can_be_journalled(api):
    plan: Plan = actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    for step in (*plan.steps, *plan.undo):
        json.loads(step.value)
        assert step.part == "app/cpu"


def test_a_pods_limits_outlive_the_boot_of_the_machine(api, tmp_path):
    plan = actuator(api).plan(Action(WEB, "cpu_cores", 1.0))
    with Journal(tmp_path / "j", boot_id="before") as journal:
        journal.add([Step("write", str(tmp_path / "limit"), "1")])
        journal.add(plan.undo)
    apply(plan)
    with Journal(tmp_path / "j", boot_id="after") as journal:
        assert journal.steps() == list(plan.undo), "what was the machine's own has ended with its boot"
        assert journal.restore("test").undone == 1
    assert limits(api)["limits"]["cpu"] == "500m"
