"""Makes what the social network begins with: users, who follows whom, their first posts and timelines.

As large as socfb-Reed98: 962 users and 18.8k ties, which go both ways; with seed 1 the most befriended has 310 friends,
half of all have less than 33. From a fixed seed: every run begins the same. What RUN has already, made of the same options, is kept.

python prepare.py --run RUN [--seed 1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sqlite3
import zlib
from bisect import bisect
from itertools import accumulate
from pathlib import Path

from pictures import Pictures
from timelines import KEPT, Timelines

USERS, TIES = 962, 18_812
SPREAD = 0.7  # of the logarithm of how sought-after a user is
FIRST_POSTS = 12  # of each user
ITERATIONS = 1500  # of hashing a password, at --work 1
FIRST_MS = 1_000_000_000  # of the first post, since unique-id's epoch
PICTURES = 512  # numbered from 1: what the first posts show
WORDS = [
    "morning",
    "coffee",
    "train",
    "window",
    "river",
    "paper",
    "lecture",
    "garden",
    "bicycle",
    "evening",
    "rain",
    "market",
    "bread",
    "concert",
    "library",
    "notes",
    "mountain",
    "winter",
    "letter",
    "camera",
    "kitchen",
    "street",
    "harbour",
    "island",
    "summer",
    "friend",
    "answer",
    "question",
    "story",
    "music",
    "history",
    "travel",
    "weather",
    "football",
    "chess",
    "theatre",
    "novel",
    "physics",
    "election",
    "cinema",
    "holiday",
    "neighbour",
    "birthday",
    "recipe",
    "orchard",
]


def graph(users: int = USERS, ties: int = TIES, seed: int = 1) -> list[list[int]]:
    """Of each user, from 1, the friends, in order; [0] is nobody's. Ties are drawn by how sought-after both ends are (Chung and Lu, 2002)."""
    rng = random.Random(seed)
    reach = list(accumulate(rng.lognormvariate(0.0, SPREAD) for _ in range(users)))
    found: list[set[int]] = [set() for _ in range(users + 1)]
    count = 0

    def tie(a: int, b: int) -> None:
        nonlocal count
        if a != b and b not in found[a]:
            found[a].add(b)
            found[b].add(a)
            count += 1

    def someone() -> int:
        return 1 + bisect(reach, rng.random() * reach[-1])

    for user in range(1, users + 1):  # nobody is alone
        while not found[user]:
            tie(user, someone())
    while count < ties:
        tie(someone(), someone())
    return [sorted(friends) for friends in found]


def sentence(rng: random.Random, words: int = 15) -> str:
    """Something to say."""
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


def digest(password: str, salt: bytes, iterations: int) -> bytes:
    """What is kept of a password."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def open_posts(path: Path) -> sqlite3.Connection:
    """The database of posts. A benchmark's data need not survive a power cut: nothing is synced."""
    posts = sqlite3.connect(path, isolation_level=None)
    posts.execute("PRAGMA journal_mode=WAL")
    posts.execute("PRAGMA synchronous=OFF")
    posts.execute(
        "CREATE TABLE IF NOT EXISTS posts (id INTEGER PRIMARY KEY, author INTEGER NOT NULL, body BLOB NOT NULL)"
    )
    return posts


def packed(post: dict[str, object]) -> bytes:
    """A post as it is stored."""
    return zlib.compress(json.dumps(post, separators=(",", ":")).encode(), 6)


def prepare(run: Path, seed: int, work: float, users: int = USERS, ties: int = TIES) -> None:
    """Fills RUN."""
    stamp = json.dumps({"version": 3, "seed": seed, "work": work, "users": users, "ties": ties})
    done = run / "prepared.json"
    if done.exists() and done.read_text() == stamp:
        return
    for left in ("home.lmdb", "user.lmdb", "media.lmdb"):
        shutil.rmtree(run / left, ignore_errors=True)
    for old in run.glob("*.sqlite*"):
        old.unlink()
    rng = random.Random(seed)
    friends = graph(users, ties, seed)
    (run / "graph.json").write_text(json.dumps(friends))
    _users(run, rng, users, max(1, round(ITERATIONS * work)))
    _posts(run, rng, friends)
    pictures = Pictures(run)
    for number in range(1, PICTURES + 1):
        pictures.store(number)
    pictures.close()
    done.write_text(stamp)


def _users(run: Path, rng: random.Random, users: int, iterations: int) -> None:
    with sqlite3.connect(run / "users.sqlite") as database:
        database.execute(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, about TEXT NOT NULL, "
            "salt BLOB NOT NULL, iterations INTEGER NOT NULL, digest BLOB NOT NULL)"
        )
        for user in range(1, users + 1):
            salt = rng.randbytes(16)
            kept = digest(f"password-{user}", salt, iterations)
            row = (user, f"user{user}", sentence(rng, 12), salt, iterations, kept)
            database.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", row)
    database.close()


def _posts(run: Path, rng: random.Random, friends: list[list[int]]) -> None:
    users = range(1, len(friends))
    authors = [user for user in users for _ in range(FIRST_POSTS)]
    rng.shuffle(authors)
    own: dict[int, list[tuple[int, int]]] = {user: [] for user in users}
    home: dict[int, list[tuple[int, int]]] = {user: [] for user in users}
    database = open_posts(run / "posts.sqlite")
    database.execute("BEGIN")
    for count, author in enumerate(authors):
        post = FIRST_MS + count * 1000 << 12
        body = {
            "id": post,
            "author": author,
            "text": f"{sentence(rng)} @user{rng.choice(users)} http://vg.us/{rng.randrange(1 << 30):07x}",
            "mentions": [],
            "media": 1 + count % PICTURES,
            "likes": rng.randrange(100),
        }
        database.execute("INSERT INTO posts VALUES (?, ?, ?)", (post, author, packed(body)))
        own[author].insert(0, (post, author))
        for friend in friends[author]:
            home[friend].insert(0, (post, author))
            del home[friend][KEPT:]
    database.execute("COMMIT")
    database.close()
    for name, found in (("user.lmdb", own), ("home.lmdb", home)):
        timelines = Timelines(run / name)
        timelines.fill(found)
        timelines.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=float, default=1.0)
    options = parser.parse_args()
    prepare(options.run, options.seed, options.work)
