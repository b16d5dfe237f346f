"""unique-id: ids that grow with time and are made once only, by any number of replicas; their links are signed (RSA)."""

from __future__ import annotations

import hashlib
import time

from service import Json, Service

service = Service("unique-id")
EPOCH_MS = 1_577_836_800_000  # 2020
# 2^521 - 1 and 2^607 - 1, both prime: a key for a benchmark, where anyone can know the factors
P, Q = (1 << 521) - 1, (1 << 607) - 1
MODULUS, PRIVATE = P * Q, pow(65537, -1, (P - 1) * (Q - 1))
last = 0


async def make(body: Json) -> Json:
    """{id, link}: 41 bits of milliseconds, 4 of the replica, 8 that count; JSON's numbers have 53."""
    global last
    user = int(body["user"])
    made = int(time.time() * 1000) - EPOCH_MS << 12 | (service.replica & 15) << 8
    last = max(made, last + 1)
    signature = 0
    for _ in range(service.times(1)):
        hashed = int.from_bytes(hashlib.sha512(f"{last}:{user}".encode()).digest(), "big")
        signature = pow(hashed, PRIVATE, MODULUS)
    return {"id": last, "link": f"/post/{last}?signature={signature % (1 << 64):016x}"}


service.post("/make", make)
service.serve()
