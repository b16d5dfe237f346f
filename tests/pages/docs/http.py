# A database.
from types import SimpleNamespace

db = SimpleNamespace(read=lambda: ["tea"])
