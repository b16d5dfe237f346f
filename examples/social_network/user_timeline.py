"""user-timeline: what a user wrote, the newest first. Kept in LMDB: replicas share it."""

from __future__ import annotations

from collections import Counter

from service import Json, Service
from timelines import Timelines

service = Service("user-timeline")
timelines = Timelines(service.run / "user.lmdb")
SHOWN = 12


async def read(body: Json) -> Json:
    """{posts, terms}: the newest posts, and the words that the user uses most."""
    entries = timelines.read(int(body["user"]), SHOWN)
    posts = (await service.call("post-storage", "/read", posts=[post for post, _ in entries]))["posts"]
    terms: list[str] = []
    for _ in range(service.times(40)):
        words = Counter(word.lower().strip(".,") for post in posts for word in post["text"].split())
        terms = sorted(words, key=lambda word: (-words[word], word))[:10]
    return {"posts": posts, "terms": terms}


async def add(body: Json) -> Json:
    """Puts a post on top."""
    user = int(body["user"])
    return {"added": timelines.add([user], int(body["post"]), user)}


service.post("/read", read)
service.post("/add", add)
service.serve()
