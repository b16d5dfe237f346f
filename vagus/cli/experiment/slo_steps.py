"""What a run's controller did: from its own figures and its receipts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from vagus.cli.experiment.slo_measure import note_kind
from vagus.cli.experiment.slo_results import Steps
from vagus.client.connection import Connection
from vagus.errors import VagusError
from vagus.model import ActorStatus, Event, Receipt

MOST_RECORDS = 10_000
FEW = 0.7  # of the steps that a controller was to take


def seen(connection: Connection, name: str) -> ActorStatus | None:
    """A controller now; None while it does not run, or the gateway does not answer: a run is not lost for it."""
    try:
        nodes = connection.status()
    except VagusError:
        return None
    named = (f"vagus:controller:{name}@{node.node}" for node in nodes)
    return next((a for n, node in zip(named, nodes, strict=True) for a in node.actors if a.name == n), None)


def troubles(before: ActorStatus | None, after: ActorStatus | None, expected: float) -> list[str]:
    """What a reader of the results should know of a controller, which was to take so many steps between."""
    if before is None or after is None:
        return ["its controller told no figures"]
    actor, taken = after, after.figures.get("steps", 0.0) - before.figures.get("steps", 0.0)
    if taken < FEW * expected:
        return [f"its controller took {taken:.0f} steps of {expected:.0f}", *troubles(after, after, 0.0)]
    found = [f"its controller failed {actor.errors} times, at last: {actor.last_error}"[:500]] if actor.errors else []
    return found + [f"its controller was restarted {actor.restarts} times"] * (actor.restarts > 0)


def steps_of(
    before: Mapping[str, float], after: Mapping[str, float], receipts: Iterable[Receipt], rungs: Iterable[Event]
) -> Steps:
    """before, after: figures at the begin and the end of the measured part; receipts and events: of it, of this
    controller, the newest first. Pure."""

    def grew(name: str) -> int:
        return round(max(0.0, after.get(name, 0.0) - before.get(name, 0.0)))

    notes: Counter[str] = Counter()
    changed = errors = 0
    for receipt in receipts:
        errors += bool(receipt.error)
        if receipt.note:
            notes[note_kind(receipt.note)] += 1
            changed += not receipt.note.startswith("held") and not receipt.error
    rung = next((str(event.fields.get("rung", "")) for event in rungs), "")
    return Steps(
        actions=grew("actions"),
        held=grew("held"),
        changed=changed,
        shielded=grew("shielded_steps"),
        steered=grew("steered_steps"),
        own=grew("own_steps"),
        errors=errors,
        notes=dict(notes.most_common(20)),
        rung="" if rung == "trust" else rung,
    )


def receipts_of(connection: Connection, name: str, since_s: float, until_ns: int) -> list[Receipt]:
    """The receipts that a controller left in the last seconds, until a wall time. Raises VagusError."""
    found = connection.records("receipt", since=f"{since_s:.3f}s", limit=MOST_RECORDS)
    return [receipt for receipt in found if receipt.controller == name and receipt.t_ns < until_ns]


def rungs_of(connection: Connection, name: str, since_s: float) -> list[Event]:
    """How a controller went up and down its ladder, the newest first. Raises VagusError."""
    found = connection.records("event", since=f"{since_s:.3f}s", limit=1000, event="controller.rung")
    return [event for event in found if event.source == name]
