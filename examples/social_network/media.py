"""media: pictures, compressed when they come, shown small. Kept in LMDB: replicas share it."""

from __future__ import annotations

import base64
import hashlib
import zlib

import lmdb
from service import Json, Service

service = Service("media")
KEPT = 4096  # pictures: a newer one takes the place of the oldest
SIDE = 160
env = lmdb.open(str(service.run / "media.lmdb"), map_size=256 << 20, sync=False, max_readers=256)


def picture(seed: int) -> bytes:
    """What a camera would send: a slope with noise."""
    noise = hashlib.shake_128(seed.to_bytes(8, "little")).digest(SIDE * SIDE // 4)
    rows = [
        bytes((row + at + (noise[(row * 40 + (at >> 2)) % len(noise)] & 15)) & 255 for at in range(SIDE))
        for row in range(SIDE // 4)
    ]
    return b"".join(rows)


async def store(body: Json) -> Json:
    """{picture}: its number."""
    seed = int(body["seed"]) & (1 << 60) - 1
    taken = picture(seed)
    whole = b""
    for _ in range(service.times(1)):
        whole = zlib.compress(taken, 9)
    small = zlib.compress(taken[::4], 9)
    number = seed
    with env.begin(write=True) as txn:
        slot = (number % KEPT).to_bytes(2, "big")
        txn.put(b"w" + slot, whole)
        txn.put(b"s" + slot, small)
    return {"picture": number}


async def previews(body: Json) -> Json:
    """{previews}: of each picture the small one, in base64."""
    found = {}
    with env.begin() as txn:
        for number in body["pictures"][:50]:
            slot = (int(number) % KEPT).to_bytes(2, "big")
            whole = txn.get(b"w" + slot)
            if whole is not None:
                shown = zlib.compress(zlib.decompress(whole)[::8], 6)
                found[str(number)] = base64.b64encode(shown).decode()
    return {"previews": found}


service.post("/store", store)
service.post("/previews", previews)
service.serve()
