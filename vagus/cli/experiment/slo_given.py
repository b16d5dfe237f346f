"""From the options of `vagus experiment slo` to what is run: the plan, and the results that are gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from vagus.cli.application import load as read_application
from vagus.cli.experiment import slo_results
from vagus.cli.experiment.slo_injections import timetable
from vagus.cli.experiment.slo_plan import check_same, product
from vagus.cli.experiment.slo_results import Plan, Results
from vagus.cli.experiment.slo_variants import chosen, with_files
from vagus.cli.openloop.trace import MAX_BYTES, parse
from vagus.config import (
    ApplicationSettings,
    CampaignSettings,
    CollectSettings,
    Config,
    ExperimentSettings,
    ForecastSettings,
    GatewaySettings,
    ProbeSettings,
    TraceSettings,
    VariantSettings,
    load,
)
from vagus.errors import ConfigError, unreadable, unwritable
from vagus.runtime.cluster import free_port

POLICIES = ("none", "hpa", "aimd", "throttle", "ddpg")
VARIANTS = "variants.yaml"
"""Beside app.yaml: what was tuned for it."""
GIVEN_UP_S = 10.0
WINDOW_S = 2.0
PORT = 27217


class Given(NamedTuple):
    """kept: what is written into the folder, by file name, so that it says itself what was run."""

    plan: Plan
    settings: ApplicationSettings
    app_folder: Path
    campaign: CampaignSettings | None
    trace: list[float]
    kept: Mapping[str, str]


def given_of(
    app: Path,
    traces: Sequence[Path],
    inject: Path | None,
    variants: tuple[VariantSettings, ...],
    *,
    minutes: float,
    rate: float,
    slo_ms: float,
    offset_s: float,
    warm_s: float,
) -> Given:
    """All that is run, checked before anything starts. Raises ConfigError."""
    run_s, slo_s = 60.0 * minutes, slo_ms / 1000
    for option, value, low, high in (
        ("--minutes", minutes, 1 / 60, 1440.0),
        ("--slo", slo_ms, 1.0, 1000 * GIVEN_UP_S),
        ("--warm", warm_s, 3.0, 3600.0),
        ("--rate", rate, 0.1, 100_000.0),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{option}: {value:g} is not between {low:g} and {high:g}")
    settings = read_application(app)
    columns = {str(path): parse(_text(path), str(path)) for path in traces}
    text = (
        product(columns) if len(columns) > 1 else "".join(f"{rate:g}\n" for rate in next(iter(columns.values()), [1.0]))
    )
    campaign = None if inject is None else load(inject, CampaignSettings)
    services = tuple(service.name for service in settings.services)
    if campaign is not None:
        try:
            if not timetable(campaign, services, 1, run_s):
                raise ConfigError(f"no injection ends within {run_s:g} s; make the run longer, or leave --inject out")
        except ConfigError as error:
            raise ConfigError(f"{inject}: {error}") from error
    plan = Plan(
        application=settings.name,
        services=(settings.entry, *(name for name in services if name != settings.entry)),
        fixed=tuple(service.name for service in settings.services if not service.scales),
        requests=tuple(request.name for request in settings.requests),
        slo_s=slo_s,
        rate_hz=rate,
        trace=" × ".join(path.name for path in traces),
        offset_s=offset_s,
        inject="" if campaign is None else campaign.name,
        warm_s=warm_s,
        run_s=run_s,
        given_up_s=GIVEN_UP_S,
        window_s=WINDOW_S,
        variants=variants,
        files={app.name: _digest(app)} | _named(variants, app.absolute().parent),
    )
    kept = {"trace.txt": text, "inject.yaml": "" if inject is None else _text(inject)}
    return Given(plan, settings, app.absolute().parent, campaign, parse(text, "trace.txt"), kept)


def variants_of(app: Path, policies: str, file: Path | None, tune: bool) -> tuple[VariantSettings, ...]:
    """The contestants: those that are named, of the file, of what was tuned for the application, or known. To tune: the
    file's alone. Raises ConfigError."""
    tuned = app.parent / VARIANTS
    own = load(tuned, ExperimentSettings).variants if tuned.exists() and not tune else ()
    more = load(file, ExperimentSettings).variants if file is not None else ()
    if more:
        chosen((), more)  # says which is there twice
    by_name = {variant.name: variant for variant in (*own, *more)}
    names = [name.strip() for name in policies.split(",") if name.strip()]
    return chosen(names or ([v.name for v in more] if tune else POLICIES), tuple(by_name.values()))


def _named(variants: Sequence[VariantSettings], folder: Path) -> dict[str, str]:
    """Digests of the files that options name, such as checkpoints."""
    return {
        Path(value).name: _digest(Path(value))
        for variant in variants
        for value in with_files(variant, folder).options.values()
        if isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value)
    }


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB")
    return content.decode("utf-8", "replace")


def results_in(output: Path, given: Given, seeds: tuple[int, ...], resume: bool) -> Results:
    """Those in the folder, to go on with; or new ones. Raises ConfigError."""
    plan = given.plan
    if (output / slo_results.FILE).exists():
        if not resume:
            raise ConfigError(f"{output} has results already; --resume goes on with them, or name another folder")
        found = slo_results.load(output)
        check_same(found.plan, plan, output)
        for name, text in given.kept.items():
            if (output / name).exists() and _text(output / name) != text:
                raise ConfigError(f"{output / name} is another than the one that is given now; name another folder")
        known = {variant.name: variant for variant in (*found.plan.variants, *plan.variants)}
        files = found.plan.files | plan.files
        plan = msgspec.structs.replace(plan, variants=tuple(known.values()), files=files)
        return msgspec.structs.replace(found, plan=plan, seeds=tuple(sorted({*found.seeds, *seeds})))
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in given.kept.items():
            if text:
                (output / name).write_text(text)
    except OSError as error:
        raise ConfigError(unwritable(output, error, "name another folder with -o")) from error
    return Results(plan=plan, seeds=seeds, machine=_machine(), command=shlex.join(["vagus", *sys.argv[1:]]))


def _machine() -> dict[str, str]:
    found = {"cpus": str(os.cpu_count()), "kernel": platform.release(), "python": platform.python_version()}
    with contextlib.suppress(OSError):
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        found |= {"cpu": names[0].partition(":")[2].strip()} if names else {}
    return found


def config(application: str) -> Config:
    """Of the experiment's own cluster: what a controller needs, and nothing that would take CPU beside."""
    return Config(
        gateway=GatewaySettings(port=free_port(PORT)),
        collect=CollectSettings(
            collectors=("host", "cgroup"), cgroups=(f"vagus-app-{application}/*",), max_cgroups=100
        ),
        forecast=ForecastSettings(enabled=False),
        probes=ProbeSettings(enabled=False),
        traces=TraceSettings(on="off"),
        feeds=(),
        controllers=(),
    )
