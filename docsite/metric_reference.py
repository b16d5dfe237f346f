"""What `/metrics` exports, as a page: the streams of collectors, the figures of actors, the gateway's and the node's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from docsite.source import Source
from docsite.words import code, prose, table
from vagus.collectors.meanings import MEANINGS
from vagus.gateway.figures import FIGURES
from vagus.gateway.meanings import OTHERS, of_figure


def pages() -> dict[str, str]:
    """The page by its path below docs/."""
    return {"reference/metrics.md": metrics()}


def metrics() -> str:
    """All that has a text; streams of programs and feeds come on top, under the names that they give."""
    own = [(code(_name(name, counter)), prose(about)) for name, about, counter in sorted(_of_the_gateway())]
    figures = [(code(f"vagus_actor_{name}"), prose(of_figure(name))) for name in sorted(FIGURES)]
    streams = []
    for kind, meaning in sorted({**MEANINGS, **OTHERS}.items()):
        fields = "; ".join(f"{code(name)} {prose(text)}" for name, text in meaning.fields.items())
        streams.append((code(f"vagus_{re.sub(r'[^a-zA-Z0-9_]', '_', kind)}_FIELD"), prose(meaning.about), fields))
    return "\n\n".join(
        [
            "# Metrics",
            "What `GET /metrics` of each gateway exports, in Prometheus' text format. `vagus dashboard show` lists what "
            "this machine has, with types and units; streams of programs and feeds come on top.",
            "## The gateway and its node",
            table(("Metric", "What"), own),
            "## Actors",
            "Labels `actor`, `role`, `node`. Among Ray's own metrics they are called `ray_vagus_…`, without `actor_`.",
            table(("Metric", "What"), figures),
            "## Streams",
            "A stream's kind and field make the name, its labels and `node` the labels; counters end in `_total`. "
            "Fields without a text are told by their name and unit.",
            table(("Metric", "What", "Fields"), streams),
            "",
        ]
    )


def _name(name: str, counter: bool) -> str:
    return f"vagus_{name}" + ("_total" if counter and not name.endswith("_total") else "")


def _of_the_gateway() -> Iterator[tuple[str, str, bool]]:
    """Of each metric that vagus.gateway.metrics itself names: name, text, whether it is a counter."""
    for node in ast.walk(Source("vagus.gateway.metrics").tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "out.add"):
            continue
        name, counter = node.args[0], node.args[3]
        about = next((word.value for word in node.keywords if word.arg == "about"), node.args[-1])
        if isinstance(name, ast.Constant) and isinstance(counter, ast.Constant):
            yield str(name.value), _about(about), bool(counter.value)


def _about(node: ast.expr) -> str:
    """The text, also where it is looked up by the name of a figure."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "of_figure":
        return of_figure(ast.literal_eval(node.args[0]))
    return str(ast.literal_eval(node))
