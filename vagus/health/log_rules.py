"""What every log filter shares: a line is split into fields, rules or a filter file say what it means.

A filter is a class with a line's form (`split`) and a table of rules. The rules are few on purpose: what is said of
somebody else, or of a server by itself, when it cannot do its work. Times are the lines' own.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import tzinfo
from typing import NamedTuple

from vagus.errors import ConfigError
from vagus.health.ensemble import Ensemble, is_own
from vagus.health.filter_tree import FilterTree
from vagus.health.log_time import LogTimes
from vagus.model import Metric, Report, Status, check_name

MAX_LINE = 4096
SKIPPED = frozenset({"DEBUG", "TRACE"})
HOST = r"(?P<host>\[[0-9A-Fa-f:.%]{2,60}\]|[A-Za-z0-9_.-]{1,255}|[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f.]{0,15}){2,7})"
"""A host name or an address as a group of a rule's pattern."""


class Rule(NamedTuple):
    """A line with `needle` (cheap to look for), in whose content `pattern` is found, says this.

    source: only lines of that class or program. Context and subject are templates of the pattern's groups and `node`;
    the group `host` is an address, which an ensemble file turns into an id. No subject: whoever wrote the line.
    """

    needle: str
    pattern: re.Pattern[str]
    context: str
    status: Status
    score: float
    subject: str = ""
    source: str = ""


class RuleFilter:
    """Base of the filters. Raises ConfigError for a bad name of node or observer.

    node: this machine's name as others know it, in the names of what has none of its own. hostname: what this machine
    calls itself in logs that name hosts; lines of others are about those. zone: of times without an offset, by
    default this machine's. observer: who reports, instead of the server that wrote the line.
    """

    name = ""
    kind = ""  # of servers that are known by address or id: KIND@ID
    fields: tuple[str, ...] = ("time", "level", "source", "content")
    rules: tuple[Rule, ...] = ()

    def __init__(
        self,
        node: str = "",
        *,
        zone: tzinfo | None = None,
        tree: FilterTree | None = None,
        ensemble: Ensemble | None = None,
        observer: str = "",
        hostname: str = "",
    ) -> None:
        self.hostname = hostname or platform.node()
        self.node = check_name("node", node or self.hostname or "localhost")
        self.tree = tree
        self.ensemble = ensemble
        self.observer = check_name("observer", observer) if observer else ""
        self.times = LogTimes(zone)

    # --- what a filter says of its lines -----------------------------------------------------------------------------

    def split(self, line: str) -> Mapping[str, str] | None:
        """The fields of a line; None for a line of another form, such as the second of an exception."""
        raise NotImplementedError

    def writer(self, fields: Mapping[str, str]) -> str:
        """Who wrote a line, by the name that others use of it."""
        return f"{self.name}@{self.node}"

    def about(self, fields: Mapping[str, str]) -> str | None:
        """Whom a line is about when a filter file names nobody; empty: whoever wrote it; None: nobody we know."""
        return ""

    def context(self, fields: Mapping[str, str]) -> str:
        """The context of a line that a filter file gives none."""
        return fields.get("source", "") or self.name

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self, line: str, path: str, t_ns: int) -> Report | None:
        """The report in a line, at the line's own time (`t_ns` where it has none), or None. Never raises."""
        if not self.promising(line):
            return None
        fields = self.split(line[:MAX_LINE])
        return None if fields is None else self.judge(fields, path, t_ns)

    def promising(self, line: str) -> bool:
        """Whether a line may say something; cheap."""
        if self.tree is not None:
            return True
        for rule in self.rules:  # noqa: SIM110  a generator costs twice as much
            if rule.needle in line:
                return True
        return False

    def judge(self, fields: Mapping[str, str], path: str, t_ns: int) -> Report | None:
        """The report in a line of these fields, or None."""
        if fields.get("level") in SKIPPED:
            return None
        me = self.writer(fields)
        said = self._by_tree(fields) if self.tree is not None else self._by_rules(fields)
        if said is None:
            return None
        subject, context, metric = said
        try:
            when = self.times.parse(fields.get("time", ""), path, t_ns)
            return Report(self.observer or me, subject or me, when, {context: metric})
        except ConfigError:
            return None  # a name that is too long or not printable, a time beyond 2100

    def _by_rules(self, fields: Mapping[str, str]) -> tuple[str, str, Metric] | None:
        content = fields["content"]
        for rule in self.rules:
            if rule.needle not in content or (rule.source and rule.source != fields.get("source")):
                continue
            found = rule.pattern.search(content)
            if found is None:
                continue
            words = {name: (word or "").rstrip(":.,") for name, word in found.groupdict().items()}
            words["node"] = self.host_of(fields)
            subject = rule.subject
            if "host" in words:
                subject = "" if is_own(words["host"]) else subject
                words["host"] = self._id_of(words["host"])
            return subject.format(**words), rule.context.format(**words), Metric(rule.status, rule.score)
        return None

    def _by_tree(self, fields: Mapping[str, str]) -> tuple[str, str, Metric] | None:
        assert self.tree is not None
        found = self.tree.find(fields)
        if found is None:
            return None
        kind, at, host = found.subject.rpartition("@")
        if found.named:
            subject: str | None = found.subject or self.about(fields)
        elif at:  # such as broker@<content_id>
            subject = f"{kind}@{self._id_of(host)}"
        else:
            subject = self.server(found.subject)
        if subject is None:
            return None
        return subject, found.context or self.context(fields), Metric(found.status, found.score)

    # --- names -------------------------------------------------------------------------------------------------------

    def server(self, host: str) -> str:
        """A server by its address or id; empty for the one that wrote the line."""
        return "" if is_own(host) else f"{self.kind or self.name}@{self._id_of(host)}"

    def _id_of(self, host: str) -> str:
        return (self.ensemble.id_of(host) if self.ensemble else "") or host.strip("[]")

    def host_of(self, fields: Mapping[str, str]) -> str:
        """The node that a line is about: this one, unless the line names another host."""
        host = fields.get("host", "")
        ours = {"", self.node, self.hostname, self.hostname.partition(".")[0], "localhost"}
        return self.node if host in ours or host.partition(".")[0] in ours else host
