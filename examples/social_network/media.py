"""media: pictures, compressed when they come, shown small. Replicas share the database."""

from __future__ import annotations

import base64

from pictures import Pictures
from service import Json, Service

service = Service("media")
pictures = Pictures(service.run)


async def store(body: Json) -> Json:
    """{picture, bytes}: its number and size."""
    number = int(body["number"]) & (1 << 52) - 1
    return {"picture": number, "bytes": pictures.store(number, service.times(3))}


async def previews(body: Json) -> Json:
    """{previews}: of each picture the small one, in base64."""
    found = {}
    for number in body["pictures"][:50]:
        shown = pictures.preview(int(number), service.times(1))
        if shown is not None:
            found[str(number)] = base64.b64encode(shown).decode()
    return {"previews": found}


service.post("/store", store)
service.post("/previews", previews)
service.serve()
