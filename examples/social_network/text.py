"""text: what a post says: shortened links, whom it mentions, what must not be said, which words tell it apart."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from service import Json, Service

service = Service("text")
LINK = re.compile(r"https?://[^\s\"<>]+")
MENTION = re.compile(r"(?<!\w)@(\w{1,30})")
WORD = re.compile(r"\w+")
# what moderators look for: each is tried on each post
RUDE = [
    re.compile(rf"\b{word}(?:s|ed|ing)?\b.{{0,20}}\b(?:you|your|them)\b", re.IGNORECASE)
    for word in [
        "spam",
        "scam",
        "cheat",
        "fraud",
        "steal",
        "threat",
        "insult",
        "abuse",
        "attack",
        "blame",
        "bully",
        "curse",
        "hack",
        "harm",
        "hate",
        "hurt",
        "kill",
        "lie",
        "mock",
        "rob",
        "shame",
        "sneer",
        "spoof",
        "stalk",
        "swindle",
        "taunt",
        "tease",
        "torment",
        "trick",
        "troll",
    ]
]


async def take(body: Json) -> Json:
    """{text, mentions, flags, terms}"""
    text = str(body["text"])
    mentioned = service.call("user", "/mentions", names=list(dict.fromkeys(MENTION.findall(text)))[:20])
    short = LINK.sub(lambda found: f"http://vg.us/{hashlib.sha256(found[0].encode()).hexdigest()[:7]}", text)
    flags = 0
    terms: list[str] = []
    for _ in range(service.times(48)):
        flags = sum(pattern.search(short) is not None for pattern in RUDE)
        words = [word.lower() for word in WORD.findall(short)]
        grams = Counter(word[at : at + 3] for word in words for at in range(len(word) - 2))
        terms = sorted(grams, key=lambda gram: (-grams[gram], gram))[:10]
    return {"text": short, "mentions": (await mentioned)["users"], "flags": flags, "terms": terms}


service.post("/take", take)
service.serve()
