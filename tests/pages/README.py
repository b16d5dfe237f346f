# What README.md's programs have: a database, and a key to look for.
from types import SimpleNamespace

db, key = SimpleNamespace(read=lambda key: [key]), "tea"
