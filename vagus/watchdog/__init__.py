"""Restores limits when a controller is gone: a plain process, not a Ray worker, with a journal on disk.

`Watchdog` is the controller's side; `recover` and `restore` undo what a crash or a power cut left behind.
Imports neither ray nor numpy, and starts in tens of milliseconds.
"""

from __future__ import annotations

from vagus.watchdog.client import Lapsed, Watchdog
from vagus.watchdog.journal import Journal, Locked, Restored, recover, restore

__all__ = ["Journal", "Lapsed", "Locked", "Restored", "Watchdog", "recover", "restore"]
