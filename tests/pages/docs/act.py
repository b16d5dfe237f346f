# A service with threads, whose number can be changed.
from types import SimpleNamespace

import vagus

pool = SimpleNamespace(size=4, resize=lambda size: None)
