"""Thin shells: each actor performs on its node what the pure cores direct, and owns that node's files and sockets.

The classes are plain Python (asyncio); `vagus.runtime` makes Ray actors of them and links them to each other, and
tests link them in one process. One writer per LMDB environment: the actor that owns it.
"""

from __future__ import annotations

from vagus.actors.base import Actor
from vagus.registry import Registry

ROLES: Registry[Actor] = Registry(
    "vagus.roles",
    {
        "collector": "vagus.actors.collector:CollectorActor",
        "observer": "vagus.actors.observer:ObserverActor",
        "feed": "vagus.actors.feed:FeedActor",
        "decide": "vagus.actors.decide:DecideActor",
        "traces": "vagus.actors.traces:TracesActor",
        "learner": "vagus.actors.learner:LearnerActor",
        "controller": "vagus.actors.controller:ControllerActor",
    },
)
