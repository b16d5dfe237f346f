"""Ray reads its settings from the environment when it is first imported, which any test module may do."""

from __future__ import annotations

import os

from vagus.runtime.cluster import ROBUST

for name, value in ROBUST.items():
    os.environ.setdefault(name, value)
