"""post-storage: all posts, in SQLite, the last used ones in a cache. It alone writes: it has one replica."""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict

from prepare import open_posts, packed
from service import Json, Service

service = Service("post-storage")
CACHED = 1000
database = open_posts(service.run / "posts.sqlite")
cache: OrderedDict[int, bytes] = OrderedDict()  # as they are stored
hits = misses = 0


def keep(number: int, stored: bytes) -> None:
    cache[number] = stored
    cache.move_to_end(number)
    while len(cache) > CACHED:
        cache.popitem(last=False)


def unpacked(stored: bytes) -> Json:
    post: Json = {}
    for _ in range(service.times(14)):
        post = json.loads(zlib.decompress(stored))
    return post


async def write(body: Json) -> Json:
    """Stores a post; once more is once."""
    post = body["post"]
    number, stored = int(post["id"]), packed(post)
    database.execute("INSERT OR REPLACE INTO posts VALUES (?, ?, ?)", (number, int(post["author"]), stored))
    keep(number, stored)
    return {}


async def read(body: Json) -> Json:
    """{posts}: these, in order; unknown ones are left out."""
    global hits, misses
    wanted = [int(number) for number in body["posts"]][:200]
    found = {number: cache[number] for number in wanted if number in cache}
    missing = [number for number in wanted if number not in found]
    hits, misses = hits + len(found), misses + len(missing)
    for number in found:
        cache.move_to_end(number)
    marks = ",".join("?" * len(missing))
    for number, stored in database.execute(f"SELECT id, body FROM posts WHERE id IN ({marks})", missing):
        found[number] = stored
        keep(number, stored)
    return {"posts": [unpacked(found[number]) for number in wanted if number in found]}


async def figures(query: Json) -> Json:
    """GET /figures: of the cache."""
    return {"cached": len(cache), "hits": hits, "misses": misses}


service.post("/write", write)
service.post("/read", read)
service.get("/figures", figures)
service.serve()
