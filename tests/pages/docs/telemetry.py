# What a program has of its own.
import logging

import vagus


def copy() -> None:
    pass
