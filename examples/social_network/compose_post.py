"""compose-post: puts a post together of what other services make of its parts, stores it, and tells the timelines."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque

from service import Json, Service

import vagus

service = Service("compose-post")
REMEMBERED = 40  # posts against which a new one is compared
SHINGLE = 8
recent: deque[frozenset[int]] = deque(maxlen=REMEMBERED)


async def compose(body: Json) -> Json:
    """Sequential, parallel and background calls: an id, the text and the picture at once; stored; then the timelines."""
    user = int(body["user"])
    wanted = [service.call("unique-id", "/make", user=user), service.call("text", "/take", text=body["text"])]
    if body["media"] is not None:
        wanted.append(service.call("media", "/store", number=int(body["media"])))
    made, text, *stored = await asyncio.gather(*wanted)
    with vagus.span("compare"):
        alike = likeness(text["text"])
    post = {
        "id": made["id"],
        "author": user,
        "text": text["text"],
        "mentions": text["mentions"],
        "media": stored[0]["picture"] if stored else None,
        "likes": 0,
        "alike": round(alike, 3),
    }
    await service.call("post-storage", "/write", post=post)
    await service.call("user-timeline", "/add", user=user, post=made["id"])
    service.later(fan_out(user, made["id"], text["mentions"]))
    return {"id": made["id"], "link": made["link"]}


async def fan_out(user: int, post: int, mentions: list[int]) -> None:
    """Nobody waits for the timelines of all friends."""
    with vagus.span("fan out", follows=True):
        await service.call("home-timeline", "/spread", user=user, post=post, mentions=mentions)


def likeness(text: str) -> float:
    """How much of the text was in one of the posts before, by hashed shingles: the resemblance of Broder, 1997."""
    words = text.encode()
    shingles: set[int] = set()
    for at in range(max(1, len(words) - SHINGLE)):
        hashed = hashlib.blake2b(words[at : at + SHINGLE], digest_size=8).digest()
        shingles.add(int.from_bytes(hashed, "little"))
    mine = frozenset(shingles)
    most = 0.0
    for _ in range(service.times(6)):
        for other in recent:
            most = max(most, len(mine & other) / len(mine | other))
    recent.append(mine)
    return most


service.post("/compose", compose)
service.serve()
