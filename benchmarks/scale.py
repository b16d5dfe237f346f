"""Where each part of vagus bends between 10 and 10,000 nodes, from what its operations cost on this machine.

    python -m benchmarks.scale [--json | --markdown] [--quick] [--figure FILE.png]

First single operations of the real code are measured (`scale_costs`), and observers simulated whole, as they idle
(`scale_world`); then each part is computed for every size (`scale_model`). Where both exist, model ÷ simulated is told:
gossip at a size to which the model was not fitted, one node's cores among hundreds of others, and how long until all
hold a killed node dead. Limits: 5 % of a core and 1 MB/s for each node, a core and 1 Gbit/s for the head, 1 GB of
memory. CPU is of the calling thread, so that others on the machine matter little; a minute in all, `--quick` ten seconds.
docs/scale.md is the table of a run with --markdown --figure docs/scale.png.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import reconcile
from benchmarks import scale_model as model
from benchmarks.scale_costs import PERIOD_S, WATCH, Costs, Line, Spoken, measure, of_gossip, one_of
from benchmarks.scale_world import World, death

SEEDS = 5


class Checked(NamedTuple):
    """A figure of which there are two: computed, and simulated."""

    what: str
    computed: float
    simulated: float
    unit: str

    @property
    def ratio(self) -> float:
        return self.computed / self.simulated


def checks(costs: Costs, quick: bool) -> Iterator[Checked]:
    """The model beside simulations that it was not fitted to."""
    for nodes in (10, 30) if quick else (10, 30, 100, 300):
        simulated = statistics.median(death(nodes, seed) for seed in range(SEEDS))
        yield Checked(f"a killed node is dead to all {nodes} others", model.detection_s(nodes), simulated, "s")
    nodes = 50 if quick else 100
    for name, interest, watch, spoken in (
        ("gossip", "all", (), costs.all_heard),
        ("gossip, watched", "watched", WATCH, costs.watched),
    ):
        world = World(nodes, 2, interest=interest, watch=watch)
        world.run(PERIOD_S + 1.0)
        world.forget()
        world.run(PERIOD_S)
        cores_s, datagrams, _, body_bytes = of_gossip(world, PERIOD_S)
        yield Checked(f"{name}, {nodes} nodes: the cores' CPU", spoken.cores_s(nodes), cores_s, "cores")
        yield Checked(f"{name}, {nodes} nodes: datagrams", spoken.datagrams(nodes), datagrams, "1/s")
        yield Checked(f"{name}, {nodes} nodes: bodies", spoken.body_bytes(nodes), body_bytes, "B/s")
    with reconcile.quiet_log():
        handed = asyncio.run(_handed_out(nodes + 1))
    yield Checked(f"supervisor, {nodes} nodes stay: news", model.news_bytes(costs, nodes), handed, "B")
    for nodes in (100,) if quick else (300, 600):
        found = one_of(nodes)
        yield Checked(
            f"one node among {nodes}: the cores' CPU", costs.all_heard.cores_s(nodes), found["cores_s"], "cores"
        )


async def _handed_out(nodes: int) -> float:
    """Bytes of the news after one node of `nodes` is gone, told by the real supervisor's code."""
    world = reconcile.World(nodes)
    await world.round_ms()
    await world.settle()
    await world.told()
    world.engine.weigh = True
    world.engine.lose(1)
    await world.round_ms(reconcile.LEAST_S)
    await world.told()
    await world.fleet.stop()
    return float(world.engine.sent_bytes)


def row(what: str, value: float, unit: str, peer: str | None = None) -> dict[str, Any]:
    """As of all benchmarks; this one has no bars."""
    return {"what": what, "value": value, "unit": unit, "bar": None, "met": None, "peer": peer}


def table(costs: Costs) -> list[dict[str, Any]]:
    """Each part at each size, where it bends, and which bounds of the code it meets."""
    found = []
    for name, part in model.PARTS.items():
        for nodes in model.SIZES:
            use = part(costs, nodes)
            over = model.crossed(use)
            for value, unit in (
                (use.node_cores, "cores per node"),
                (use.head_cores, "cores at the head"),
                (use.node_bytes_s, "B/s per node"),
                (use.head_bytes_s, "B/s at the head"),
                (use.node_memory_bytes, "B held per node"),
                (use.head_memory_bytes, "B held at the head"),
            ):
                found.append(row(f"{name}: {nodes} nodes", value, unit, over or None))
        bent, over = model.bends(costs, part)
        found.append(row(f"{name}: bends at", bent, "nodes", over or f"none up to {model.MOST:,}"))
        if name in model.BOUNDS:
            nodes, text = model.BOUNDS[name]
            found.append(row(f"{name}: bound in the code", nodes, "nodes", text))
    return found


def operations(costs: Costs) -> list[dict[str, Any]]:
    """What was measured; of what depends on a number, the part that does not, and that for each further one."""
    found = []
    for name, cost in _flat(costs):
        unit = "s" if name.endswith("_s") else "B" if name.endswith("_bytes") else "1/s"
        if isinstance(cost, Line):
            found += [row(f"cost: {name}", cost.a, unit), row(f"cost: {name}, each further one", cost.b, unit)]
        else:
            found.append(row(f"cost: {name}", cost, unit))
    return found


def _flat(costs: Costs) -> Iterator[tuple[str, Line | float]]:
    for name, cost in costs._asdict().items():
        if isinstance(cost, Spoken):
            yield from ((f"{name}.{part}", line) for part, line in cost._asdict().items())
        else:
            yield name, cost


def checked(costs: Costs, quick: bool) -> list[dict[str, Any]]:
    """Model ÷ simulated."""
    return [
        row(
            f"model ÷ simulated: {one.what}", one.ratio, "ratio", f"{one.computed:.4g} ÷ {one.simulated:.4g} {one.unit}"
        )
        for one in checks(costs, quick)
    ]


def thrashing(quick: bool) -> list[dict[str, Any]]:
    """What happens beyond the bound of subjects, at one node of 1000."""
    if quick:
        return []
    found = one_of(1000)
    return [
        row("gossip, one node of 1000: subjects evicted that are still reported on", found["evicted_per_s"], "1/s"),
        row("gossip, one node of 1000: the cores' CPU", found["cores_s"], "cores"),
    ]


# --- for people ----------------------------------------------------------------------------------------------------------


def cores_text(value: float) -> str:
    """Cores as a person reads them."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{100 * value:.2g} %"


def size_text(value: float) -> str:
    """Bytes as a person reads them."""
    for step, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= step:
            return f"{value / step:.3g} {letter}B"
    return f"{value:.0f} B"


def markdown(costs: Costs, compared: Sequence[dict[str, Any]]) -> str:
    """The tables of docs/scale.md: what crosses a limit is bold."""
    sizes = model.SIZES[2:]
    lines = ["| part | " + " | ".join(f"{n:,}" for n in sizes) + " | bends at |", "|---" * (len(sizes) + 2) + "|"]
    for name, part in model.PARTS.items():
        cells = []
        for nodes in sizes:
            use = part(costs, nodes)
            head = use.head_cores > 2 * use.node_cores
            size = use.head_bytes_s if head else use.node_bytes_s
            text = f"{cores_text(use.head_cores if head else use.node_cores)}, {size_text(size)}/s"
            cells.append(f"**{text}**" if model.crossed(use) else text)
        bent, over = model.bends(costs, part)
        where = f"{_rounded(bent):,}: {over}" if over else "–"
        bound, text = model.BOUNDS.get(name, (model.MOST, ""))
        if bound < bent:
            where = f"{bound:,}: {text}" + (f"; {where}" if over else "")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {where} |")
    lines += ["", "| checked | model ÷ simulated | |", "|---|---|---|"]
    lines += [
        f"| {one['what'].removeprefix('model ÷ simulated: ')} | {one['value']:.2f} | {one['peer']} |"
        for one in compared
        if one["unit"] == "ratio"
    ]
    lines += [f"\n{one['what']}: {one['value']:.3g} {one['unit']}" for one in compared if one["unit"] != "ratio"]
    return "\n".join([*lines, "", f"Supposed: {model.describe()}.", machine()])


def _rounded(value: int) -> int:
    """To two digits: more would say more than is known."""
    digits = max(0, len(str(value)) - 2)
    return round(value / 10**digits) * 10**digits


def machine() -> str:
    """Where and beside what this ran."""
    with open("/proc/cpuinfo") as cpus:
        names = {line.partition(":")[2].strip() for line in cpus if line.startswith("model name")}
    load = os.getloadavg()[0]
    return (
        f"Machine: {', '.join(sorted(names)) or platform.machine()}, {os.cpu_count()} processors, Linux "
        f"{platform.release()}, Python {platform.python_version()}; load {load:.1f}; {time.strftime('%Y-%m-%d %H:%M')}."
    )


def draw(costs: Costs) -> bytes:
    """A PNG: cores and bytes of a node, cores of the head, over the nodes; both axes logarithmic, limits dashed."""
    import io

    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "Where vagus bends: each part alone, by number of nodes (limits dashed)", fontsize=13, x=0.01, ha="left"
    )
    palette, sizes = mpl.colormaps["tab10"], [10 * 10 ** (at / 20) for at in range(61)]
    panels = (
        ("cores per node", "node_cores", model.NODE_CORES),
        ("bytes/s per node", "node_bytes_s", model.NODE_BYTES_S),
        ("cores at the head, for all", "head_cores", model.HEAD_CORES),
    )
    for axis, (label, field, limit) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        for number, (name, part) in enumerate(model.PARTS.items()):
            uses = [part(costs, nodes) for nodes in sizes]
            if field == "head_cores" and all(use.head_cores <= 2 * use.node_cores for use in uses):
                continue  # the same at all nodes: above
            axis.plot(sizes, [getattr(use, field) for use in uses], lw=1.4, color=palette(number), label=name)
        axis.axhline(limit, color="#444444", lw=1.0, ls="--")
        axis.set(xscale="log", yscale="log", ylabel=label, ylim=(limit / 1e4, limit * 1e2))
        axis.grid(color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.01)
        if field == "node_cores":  # the colours are the same in all panels
            axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, fontsize=9, borderaxespad=0)
    axis.set_xlabel("nodes")
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true")
    how.add_argument("--markdown", action="store_true", help="the tables of docs/scale.md")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: coarse")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="a PNG as well")
    given = parser.parse_args(arguments)
    costs = measure(given.quick)
    compared = [*checked(costs, given.quick), *thrashing(given.quick)]
    if given.figure is not None:
        given.figure.write_bytes(draw(costs))
    if given.json:
        print(json.dumps([*table(costs), *compared, *operations(costs)]))
    elif given.markdown:
        print(markdown(costs, compared))
    else:
        _print(costs, compared)


def _print(costs: Costs, compared: Sequence[dict[str, Any]]) -> None:
    heads = ("nodes", "cores/node", "cores head", "B/s/node", "B/s head", "held/node", "held head")
    for name, part in model.PARTS.items():
        bent, over = model.bends(costs, part)
        bound = model.BOUNDS.get(name)
        print(f"\n{name}: " + (f"bends at {bent:,} nodes ({over})" if over else "does not bend"))
        if bound is not None:
            print(f"  bound in the code: {bound[0]:,} nodes ({bound[1]})")
        print("  " + " ".join(f"{head:>11}" for head in heads))
        for nodes in model.SIZES:
            use = part(costs, nodes)
            figures = [f"{use.node_cores:.5f}", f"{use.head_cores:.5f}", *map(size_text, use[2:])]
            print("  " + " ".join(f"{text:>11}" for text in (f"{nodes:,}", *figures)) + f"  {model.crossed(use)}")
    print()
    for one in compared:
        print(f"{one['what']:80} {one['value']:10.3f} {one['unit']:6} {one['peer'] or ''}")
    print(f"\n{model.describe()}\n{machine()}")


if __name__ == "__main__":
    main(sys.argv[1:])
