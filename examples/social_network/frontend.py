"""frontend: takes the requests of users; who they are, what they asked for, and the page of it."""

from __future__ import annotations

import asyncio
import html
import re
import zlib
from typing import Any

from service import Json, Service

service = Service("frontend")
LINK = re.compile(r"https?://[\w./-]+")
MENTION = re.compile(r"@(\w+)")
WHITE = re.compile(r"\s+")


async def compose(body: Json) -> Json:
    """POST /compose: {user, password, text, media}; the post's id."""
    user = int(body["user"])
    text = str(body["text"])
    if not text or len(text) > 10_000:
        raise ValueError("text must have 1 to 10000 characters")
    await service.call("user", "/check", user=user, password=str(body["password"]))
    posted = await service.call("compose-post", "/compose", user=user, text=text, media=body.get("media"))
    return {"post": posted["id"], "link": posted["link"]}


async def home(query: Json) -> Json:
    """GET /home?user=7&password=…: what the friends of a user wrote, the most interesting first."""
    return await page("home-timeline", query)


async def own(query: Json) -> Json:
    """GET /user?user=7&of=9&password=…: what a user wrote, the newest first."""
    return await page("user-timeline", query)


async def page(timeline: str, query: Json) -> Json:
    user = int(query["user"])
    of = int(query.get("of", user))
    await service.call("user", "/check", user=user, password=query["password"])
    posts = (await service.call(timeline, "/read", user=of))["posts"]
    pictures = [post["media"] for post in posts if post["media"] is not None]
    named = service.call("user", "/names", users=sorted({post["author"] for post in posts}))
    if pictures:
        names, shown = await asyncio.gather(named, service.call("media", "/previews", pictures=pictures))
    else:
        names, shown = await named, {"previews": {}}
    text = "".join(rendered(post, names["names"], shown["previews"]) for _ in range(service.times(5)) for post in posts)
    text = text[: len(text) // service.times(5)]
    return {"posts": [post["id"] for post in posts], "page": text, "crc": zlib.crc32(zlib.compress(text.encode(), 6))}


def rendered(post: Json, names: dict[str, Any], previews: dict[str, str]) -> str:
    """A post as HTML: escaped, links and mentions as such."""
    text = html.escape(WHITE.sub(" ", post["text"]))
    text = LINK.sub(lambda found: f'<a href="{found[0]}">{found[0]}</a>', text)
    text = MENTION.sub(lambda found: f'<a href="/user?name={found[1]}">@{found[1]}</a>', text)
    author = names.get(str(post["author"]), {"name": "?", "about": ""})
    picture = previews.get(str(post["media"]), "")
    shown = f'<img src="data:application/zlib;base64,{picture}">' if picture else ""
    title = f'<h2 title="{html.escape(author["about"])}">{html.escape(author["name"])}</h2>'
    return f'<article id="{post["id"]}">{title}<p>{text}</p>{shown}</article>\n'


service.post("/compose", compose)
service.get("/home", home)
service.get("/user", own)
service.serve()
