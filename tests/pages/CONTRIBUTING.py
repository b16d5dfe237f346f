# What a file of vagus/collectors begins with.
from collections.abc import Iterable
from pathlib import Path

from vagus.config import CollectSettings
from vagus.model import Event, Field, Sample, Stream
