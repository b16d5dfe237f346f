"""The node's LMDB: samples in a head and sealed blocks, events and other records by time, one query over all.

The only room that imports lmdb. One writer per environment, any number of reading processes.
"""

from __future__ import annotations

from vagus.store.batch import Batch
from vagus.store.store import Store

__all__ = ["Batch", "Store"]
