"""What `vagus run` and `vagus submit` are asked to run: a file and options in, a controller's settings out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from vagus.errors import ConfigError

if TYPE_CHECKING:
    from vagus.config import ControllerSettings

MAX_SOURCE_BYTES = 1 << 20
F = TypeVar("F", bound=Callable[..., Any])


class Wanted(NamedTuple):
    """The command line: FILE and what overrides it; empty text and None: as FILE says."""

    file: str
    name: str = ""
    policy: str = ""
    target: str = ""
    on: str = ""
    options: tuple[str, ...] = ()
    arm: bool | None = None


class Chosen(NamedTuple):
    """settings: with the policy's file as an absolute path; source: that file; yaml: FILE where it is not Python."""

    settings: ControllerSettings
    source: Path | None
    yaml: Path | None


def run_options(command: F) -> F:
    """FILE and the options that say what is run."""
    options = (
        click.argument("file", metavar="FILE"),
        click.option("--name", default="", help="Instead of the file's: what status and receipts call it."),
        click.option("--policy", default="", metavar="NAME", help="A registered one, module:Class or file.py[:Class]."),
        click.option("--target", default="", help="What to steer, such as cgroup:batch or pid:1234."),
        click.option("--on", default="", metavar="WHERE", help="every-node, head, or a node's name."),
        click.option(
            *("-o", "--option", "options"),
            multiple=True,
            metavar="KEY=VALUE",
            help="Of the policy, as YAML; repeatable.",
        ),
        click.option(
            "--arm/--dry",
            default=None,
            help="Let it act, or only say what it would do. Without either: as FILE says, which is dry by default.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def choose(wanted: Wanted) -> Chosen:
    """What is to be run. Nothing of a user's code is loaded. Raises ConfigError."""
    from vagus.config import ControllerSettings, load
    from vagus.controllers.load import file_of

    file = file_of(wanted.file)
    given: dict[str, Any]
    if file:
        yaml, given = None, {"name": re.sub(r"[^A-Za-z0-9_.-]+|^[_.-]+", "-", Path(file).stem)[:64].strip("-")}
        policy = wanted.policy or wanted.file
    else:
        yaml, given = Path(wanted.file), {}
        try:
            settings = load(yaml, ControllerSettings)
        except ConfigError as error:
            if "unknown field `controllers`" not in str(error):
                raise
            raise ConfigError(
                f"{yaml}: that is a vagus.yaml, for `vagus up -c`; a controller.yaml has the keys of one controller: "
                "name, policy, target, limits …"
            ) from error
        given = {name: getattr(settings, name) for name in settings.__struct_fields__}
        policy = wanted.policy or settings.policy
    source = _found(policy, yaml if not wanted.policy else None)
    if source is not None:
        policy = f"{source}{policy[len(file_of(policy)) :]}"
    return Chosen(_overridden(given, wanted, policy), source, yaml)


def words(wanted: Wanted, file: str, policy: str) -> list[str]:
    """The arguments of `vagus run` that ask for the same, where the files lie elsewhere."""
    pairs = (("--name", wanted.name), ("--policy", policy), ("--target", wanted.target), ("--on", wanted.on))
    found = [file]
    for option, value in (*pairs, *(("--option", text) for text in wanted.options)):
        found += [f"{option}={value}"] if value else []
    return found + ([] if wanted.arm is None else ["--arm" if wanted.arm else "--dry"])


def _found(policy: str, yaml: Path | None) -> Path | None:
    """The Python file that a policy names: beside the yaml that names it, else in the working folder."""
    from vagus.controllers.load import file_of

    named = file_of(policy)
    if not named:
        return None
    path = Path(named).expanduser()
    tried = [folder / path for folder in ([yaml.parent] if yaml is not None else [])] + [path]
    for place in tried:
        if place.is_file():
            if place.stat().st_size > MAX_SOURCE_BYTES:
                raise ConfigError(f"{place} has more than {MAX_SOURCE_BYTES >> 10} KiB; that is no controller")
            return place.absolute()
    places = " nor ".join(dict.fromkeys(str(place) for place in tried))
    raise ConfigError(
        f"cannot read {places}: No such file or directory"
        + (f"; {yaml} names it as its policy" if yaml is not None else "; check the path")
    )


def _overridden(given: dict[str, Any], wanted: Wanted, policy: str) -> ControllerSettings:
    import msgspec

    from vagus.cli.feed_file import options_of
    from vagus.config import ControllerSettings
    from vagus.controllers.checked import check_controllers

    given = {**given, "policy": policy}
    given |= {key: value for key, value in (("name", wanted.name), ("on", wanted.on)) if value}
    if wanted.target:
        given |= {"target": wanted.target, "targets": ()}
    if wanted.arm is not None:
        given["armed"] = wanted.arm
    given["options"] = {**given.get("options", {}), **options_of(wanted.options)}
    try:
        settings = msgspec.convert(given, ControllerSettings, from_attributes=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{wanted.file}: {error}; see `vagus run --help`") from error
    check_controllers([settings], wanted.file)
    return settings
