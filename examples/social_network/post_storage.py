"""post-storage: all posts, in SQLite, the last used ones in a cache. It alone writes: it has one replica."""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict

from prepare import open_posts, packed
from service import Json, Service

service = Service("post-storage")
CACHED = 400
database = open_posts(service.run / "posts.sqlite")
cache: OrderedDict[int, Json] = OrderedDict()
hits = misses = 0


def keep(post: Json) -> None:
    cache[post["id"]] = post
    cache.move_to_end(post["id"])
    while len(cache) > CACHED:
        cache.popitem(last=False)


async def write(body: Json) -> Json:
    """Stores a post; once more is once."""
    post = body["post"]
    row = (int(post["id"]), int(post["author"]), packed(post))
    database.execute("INSERT OR REPLACE INTO posts VALUES (?, ?, ?)", row)
    keep(post)
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
    for (stored,) in database.execute(f"SELECT body FROM posts WHERE id IN ({marks})", missing):
        post = json.loads(zlib.decompress(stored))
        found[post["id"]] = post
        keep(post)
    return {"posts": [found[number] for number in wanted if number in found]}


async def figures(query: Json) -> Json:
    """GET /figures: of the cache."""
    return {"cached": len(cache), "hits": hits, "misses": misses}


service.post("/write", write)
service.post("/read", read)
service.get("/figures", figures)
service.serve()
