"""social-graph: who is whose friend, and how close. The graph is only read, and held in memory: replicas share nothing."""

from __future__ import annotations

import json
import math

from service import Json, Service

service = Service("social-graph")
friends = [frozenset(found) for found in json.loads((service.run / "graph.json").read_text())]


async def followers(body: Json) -> Json:
    """Who reads what a user writes."""
    return {"users": sorted(friends[int(body["user"])])}


async def ties(body: Json) -> Json:
    """How close a user is to others: Adamic and Adar, 2003: common friends, each counting less the more friends it has."""
    mine = friends[int(body["user"])]
    found: dict[str, float] = {}
    for _ in range(service.times(14)):
        for other in body["users"]:
            common = mine & friends[int(other)]
            found[str(other)] = sum(1 / math.log(1 + len(friends[one])) for one in common)
    return {"ties": found}


service.post("/followers", followers)
service.post("/ties", ties)
service.serve()
