"""Observed Ray handles, over a stand-in of their interface; tests/system has the real one."""

import copy
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client.ray_handle import observed


class RayActorError(Exception):
    pass


class ActorDiedError(RayActorError):
    pass


class ActorUnavailableError(RayActorError):
    pass


class TaskCancelledError(Exception):
    pass


class Ref:
    def __init__(self):
        self.asked = Future()

    def future(self):
        return self.asked


class Stream:
    def __init__(self):
        self.ref = Ref()

    def completed(self):
        return self.ref

    def __iter__(self):
        return iter([1, 2])


class Method:
    def __init__(self, actor, name, options=None):
        self.actor, self.name, self.given = actor, name, options or {}

    def options(self, **options):
        return Method(self.actor, self.name, options)

    def bind(self, *args):
        return ("bound", self.name, args)

    def remote(self, *args, **kwargs):
        if self.name == "refuses":
            raise self.actor.refusal
        self.actor.calls.append((self.name, args, kwargs, self.given))
        answers = self.given.get("num_returns", 1)
        if answers == "streaming":
            answer = Stream()
        elif answers == 0:
            answer = None
        else:
            answer = Ref() if answers == 1 else [Ref() for _ in range(answers)]
        self.actor.answers.append(answer)
        return answer


class Actor:
    """What of a handle `observed` uses."""

    def __init__(self):
        self.calls, self.answers = [], []
        self.refusal = RuntimeError("queue is full")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return "plain" if name == "label" else Method(self, name)

    def __repr__(self):
        return "Actor(Worker, f3925ea669178fdedb9a528601000000)"


@pytest.fixture
def still():
    return Still()


@pytest.fixture
def actor():
    return Actor()


def test_the_public_name():
    assert vagus.observed is observed


def test_calls_pass_through_and_their_refs_are_the_actors_own(still, actor):
    handle = observed(actor, reporter=still.reporter)
    ref = handle.read.remote(1, deep=True)
    assert ref is actor.answers[0]
    assert actor.calls == [("read", (1,), {"deep": True}, {})]
    assert still.step() == []
    ref.asked.set_result(7)
    assert still.step() == [("actor:Worker:f3925ea66917", "read", "HEALTHY")]
    assert still.reporter.waiting == {}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), ["UNHEALTHY"]),
        (ActorDiedError("x"), ["DEAD"]),
        (RayActorError("x"), ["DEAD"]),
        (ActorUnavailableError("x"), ["UNHEALTHY"]),
        (TaskCancelledError("x"), []),
        (KeyboardInterrupt(), []),
    ],
)
def test_outcomes(still, actor, error, status):
    ref = observed(actor, "w@1", reporter=still.reporter).read.remote()
    ref.asked.set_exception(error)
    assert still.step(10.0) == [("w@1", "read", one) for one in status]


def test_a_call_that_hangs_is_pending(still, actor):
    handle = observed(actor, "w@1", reporter=still.reporter)
    ref = handle.read.remote()
    observed(actor, "w@2", pending_s=None, reporter=still.reporter).train.remote()
    assert still.step(4.0) == [("w@1", "read", "PENDING")]
    ref.asked.set_result(1)
    assert still.step() == [("w@1", "read", "HEALTHY")]


def test_a_cancelled_future_is_no_verdict(still, actor):
    ref = observed(actor, "w@1", reporter=still.reporter).read.remote()
    ref.asked.cancel()
    assert still.step(10.0) == []


def test_options_bind_attributes_and_several_returns(still, actor):
    handle = observed(actor, "w@1", reporter=still.reporter)
    refs = handle.read.options(num_returns=2).remote()
    assert refs is actor.answers[-1]
    refs[0].asked.set_result(1)
    assert handle.read.options(num_returns=0).remote() is None
    assert handle.read.bind(3) == ("bound", "read", (3,))
    assert handle.label == "plain"
    assert handle.observed_handle is actor
    assert still.step(10.0) == [("w@1", "read", "HEALTHY")]
    assert (handle == actor, handle == observed(actor), hash(handle)) == (True, True, hash(actor))
    assert "Worker" in repr(handle)


def test_streams_are_left_alone(still, actor):
    handle = observed(actor, "w@1", reporter=still.reporter)
    stream = handle.read.options(num_returns="streaming").remote()
    assert list(stream) == [1, 2]
    assert still.step(100.0) == []  # how long one takes says nothing
    stream.ref.asked.set_result(None)
    assert still.step(100.0) == []  # nor does its end, which is the same when an item fails
    handle.read.options(num_returns="streaming").remote().ref.asked.set_exception(ActorDiedError())
    assert still.step() == [("w@1", "read", "DEAD")]


def test_only_some_methods(still, actor):
    handle = observed(actor, "w@1", methods=("read",), reporter=still.reporter)
    handle.fetch.remote().asked.set_result(bytes(10))
    handle.read.remote().asked.set_result(1)
    assert still.step() == [("w@1", "read", "HEALTHY")]


def test_a_call_that_cannot_be_made(still, actor):
    handle = observed(actor, "w@1", reporter=still.reporter)
    with pytest.raises(RuntimeError, match="queue"):
        handle.refuses.remote()
    assert still.step(10.0) == [("w@1", "refuses", "UNHEALTHY")]


def test_what_is_no_ref_at_all_breaks_nothing(still, actor):
    class Odd:
        def completed(self):
            raise RuntimeError("odd")

    handle = observed(actor, "w@1", reporter=still.reporter)
    Method.remote, real = (lambda self, *a, **k: Odd()), Method.remote
    try:
        assert isinstance(handle.read.remote(), Odd)
    finally:
        Method.remote = real
    assert still.step(10.0) == []
    assert still.reporter.counts()["failed"] == 1


def test_it_travels_with_its_settings(actor):
    handle = observed(actor, "w@1", "me", methods=("read",), pending_s=7.0)
    there = copy.copy(handle)
    assert (there.observed_handle, there._observed_as) == (actor, ("w@1", "me", ("read",), 7.0))
    assert callable(there.read.remote)
