"""user: who a user is: passwords (PBKDF2), names, whom a name means. Its database is only read: replicas share it."""

from __future__ import annotations

import hmac
import sqlite3

from prepare import digest
from service import Failed, Json, Service

service = Service("user")
database = sqlite3.connect(f"file:{service.run / 'users.sqlite'}?mode=ro", uri=True)


async def check(body: Json) -> Json:
    """Whether the password is the user's; refused (403) otherwise."""
    row = database.execute("SELECT salt, iterations, digest FROM users WHERE id = ?", (int(body["user"]),)).fetchone()
    if row is None:
        raise Failed(404, f"there is no user {body['user']}")
    salt, iterations, kept = row
    if not hmac.compare_digest(digest(str(body["password"]), salt, iterations), kept):
        raise Failed(403, f"this is not the password of user {body['user']}")
    return {}


async def names(body: Json) -> Json:
    """Names and descriptions by id."""
    users = [int(user) for user in body["users"]][:200]
    marks = ",".join("?" * len(users))
    found = database.execute(f"SELECT id, name, about FROM users WHERE id IN ({marks})", users)
    return {"names": {str(user): {"name": name, "about": about} for user, name, about in found}}


async def mentions(body: Json) -> Json:
    """The users of these names; unknown ones are left out."""
    users = []
    for name in body["names"]:
        found = database.execute("SELECT id FROM users WHERE name = ?", (str(name),)).fetchone()
        if found is not None:
            users.append(found[0])
    return {"users": users}


service.post("/check", check)
service.post("/names", names)
service.post("/mentions", mentions)
service.serve()
