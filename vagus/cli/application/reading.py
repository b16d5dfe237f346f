"""`app.yaml`, and the command lines that it asks for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vagus.config import ApplicationSettings, decode, seconds
from vagus.config.reading import MAX_CONFIG_BYTES
from vagus.errors import ConfigError, unreadable


def load(path: Path) -> ApplicationSettings:
    """The application that a file describes. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(path, error, "name an app.yaml")) from error
    settings = decode(text, ApplicationSettings, str(path))
    check(settings, str(path))
    return settings


def check(settings: ApplicationSettings, path: str) -> None:
    """Raises ConfigError for what no deployment can do."""
    words = [word for command in (*settings.setup, *(s.command for s in settings.services)) for word in command]
    if any("\0" in word for word in (*words, *settings.environment, *settings.environment.values())):
        raise ConfigError(f"{path}: a zero byte in a command or in environment; no process can be told of one")
    if any(not name or "=" in name for name in settings.environment):
        raise ConfigError(f"{path}: environment: a name is empty, or has an equals sign in it")
    for service in settings.services:
        try:
            seconds(service.ready)
        except ConfigError as error:
            raise ConfigError(f"{path}: services: {service.name}: ready: {error}") from error
        if service.replicas > 1 and not service.scales:
            raise ConfigError(f"{path}: services: {service.name} has {service.replicas} replicas, but scales: false")


def filled(command: Sequence[str], folder: Path, run: Path, port: int = 0, replica: int = 0) -> list[str]:
    """A command line with its placeholders filled in; other braces are the command's own."""
    known = {
        "{python}": sys.executable,
        "{folder}": str(folder),
        "{run}": str(run),
        "{port}": str(port),
        "{replica}": str(replica),
    }
    made = []
    for argument in command:
        for name, value in known.items():
            argument = argument.replace(name, value)
        made.append(argument)
    return made
