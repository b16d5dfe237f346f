"""home-timeline: what the friends of a user wrote, ranked. Kept in LMDB: replicas share it."""

from __future__ import annotations

import math

from service import Json, Service
from timelines import Timelines

import vagus

service = Service("home-timeline")
timelines = Timelines(service.run / "home.lmdb")
SHOWN = 12
NEWEST = 3  # are always among them
HALF = 24  # so many posts later, one has half of its weight


async def read(body: Json) -> Json:
    """{posts}: the most interesting of the newest."""
    user = int(body["user"])
    entries = timelines.read(user)
    close = (await service.call("social-graph", "/ties", user=user, users=sorted({author for _, author in entries})))[
        "ties"
    ]
    with vagus.span("rank"):
        best = ranked(entries, close)
    return await service.call("post-storage", "/read", posts=best)


def ranked(entries: list[tuple[int, int]], close: dict[str, float]) -> list[int]:
    """The newest, then by how new they are, and how close their authors; of one author's posts each counts less than the one before."""
    authors = dict(entries)
    chosen: list[int] = []
    for _ in range(service.times(6)):
        left = {
            post: (math.log1p(close[str(author)]) + 0.1) * 0.5 ** (place / HALF)
            for place, (post, author) in enumerate(entries)
        }
        chosen = []
        while left and len(chosen) < SHOWN:
            best = entries[len(chosen)][0] if len(chosen) < NEWEST else max(left, key=left.__getitem__)
            del left[best]
            chosen.append(best)
            for post in left:
                if authors[post] == authors[best]:
                    left[post] *= 0.7
    return chosen


async def spread(body: Json) -> Json:
    """Puts a post into the timelines of all friends of its author, and of whom it mentions."""
    user, post = int(body["user"]), int(body["post"])
    found = (await service.call("social-graph", "/followers", user=user))["users"]
    readers = dict.fromkeys([*found, *(int(one) for one in body["mentions"])])
    return {"readers": timelines.add(readers, post, user)}


service.post("/read", read)
service.post("/spread", spread)
service.serve()
