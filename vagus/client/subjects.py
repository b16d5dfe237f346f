"""What an address is called: 10.0.0.5:3888 may be `peer@1`, so that all observers speak of the same subject.

    vagus.subjects.add("10.0.0.5:3888", "peer@1")
    vagus.subjects.add("10.2.0.0/16", "rack@2")
    vagus.subjects.add_pattern(r"web-(\\d+)\\.example:.*", r"web@\\1")
    vagus.subjects.ensemble("zoo.cfg")
    vagus.subjects.resolve("10.0.0.5:3888")        # "peer@1"; unknown ones are what they are: "host:port"

Or in a file, JSON or YAML, that $VAGUS_SUBJECTS names, with the keys of `Rules`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from vagus.errors import ConfigError
from vagus.model import check_name

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

MAX_CACHED = 10_000
MAX_RULES = 100_000
MAX_ADDRESS = 300
MAX_FILE_BYTES = 4 << 20
_SERVER = re.compile(r"server\.(\d{1,10})\s*=\s*(.+)\Z")


class Rules(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A file of rules. addresses: host:port, host or CIDR, and the subject; patterns: pairs of a regular expression
    over the whole host:port and what the subject is, with groups as \\\\1; ensemble: a file with server.N lines.
    """

    addresses: dict[str, str] = {}
    patterns: tuple[tuple[str, str], ...] = ()
    ensemble: str = ""


class Subjects:
    """Rules from addresses to subjects: the exact host:port wins, then host, network (the narrowest), pattern (in their
    order). Names are taken as they are given: nothing is looked up. Thread-safe; answers are cached, boundedly.
    """

    def __init__(self) -> None:
        self.last_error = ""
        self._read_environment = False
        self.clear()

    def clear(self) -> None:
        """Forgets every rule."""
        self._exact: dict[str, str] = {}
        self._networks: list[tuple[IPv4Network | IPv6Network, str]] = []
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        self._cache: dict[str, str] = {}

    def add(self, address: str, subject: str) -> None:
        """host:port, host (any port), or a network such as 10.2.0.0/16. Raises ConfigError."""
        check_name("subject", subject)
        self._room()
        if "/" in address:
            from bisect import insort
            from ipaddress import ip_network

            try:
                network = ip_network(address, strict=False)
            except ValueError as error:
                raise ConfigError(f"subjects: {address[:80]!r} is no network: {error}") from error
            networks = list(self._networks)
            insort(networks, (network, subject), key=lambda rule: -rule[0].prefixlen)
            self._networks = networks
        else:
            host, port = split(address)
            if not host:
                raise ConfigError(f"subjects: {address[:80]!r} is not host:port, host, or a network")
            self._exact[join(host, port)] = subject
        self._cache = {}

    def add_pattern(self, pattern: str, subject: str) -> None:
        """A regular expression over the whole host:port; \\\\1 in the subject is its first group. Raises ConfigError."""
        self._room()
        try:
            compiled = re.compile(pattern)
            compiled.sub(subject, "")  # whether the subject's groups are there
        except (re.error, IndexError) as error:
            raise ConfigError(f"subjects: pattern {pattern[:80]!r} for {subject[:80]!r}: {error}") from error
        self._patterns = [*self._patterns, (compiled, subject)]
        self._cache = {}

    def ensemble(self, path: str | os.PathLike[str], name: str = "peer@{id}") -> int:
        """server.N=host:port:port[:role][;clientport] lines of a file, ZooKeeper's: each port of the host is `peer@N`,
        and so is the host where only one server is on it. Returns how many servers. Raises ConfigError.
        """
        hosts: dict[str, set[str]] = {}
        count = 0
        for line in _read(path).decode("utf-8", "replace").splitlines():
            found = _SERVER.match(line.strip())
            if not found:
                continue
            subject = name.format(id=found[1])
            quorum, _, client = found[2].partition(";")
            host, ports = _host_and_rest(quorum.strip())
            for port in (*ports.split(":"), client.strip().rpartition(":")[2]):
                if port.isdigit():
                    self.add(join(host, port), subject)
            hosts.setdefault(host, set()).add(subject)
            count += 1
        if not count:
            raise ConfigError(f"subjects: {path} has no line server.N=HOST:PORT:PORT")
        for host, names in hosts.items():
            if len(names) == 1:
                self.add(host, *names)
        return count

    def load(self, path: str | os.PathLike[str]) -> None:
        """Adds the rules of a file, JSON or YAML. Raises ConfigError."""
        from vagus.config import decode

        rules = decode(_read(path), Rules, str(path))
        try:
            for address, subject in rules.addresses.items():
                self.add(address, subject)
            for pattern, subject in rules.patterns:
                self.add_pattern(pattern, subject)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        if rules.ensemble:
            self.ensemble(os.path.join(os.path.dirname(path), rules.ensemble))

    def resolve(self, address: str, port: int | str | None = None) -> str:
        """The subject at an address, `host:port` or host and port. Never raises."""
        try:
            if port is not None:
                address = join(address, str(port))
            found = self._cache.get(address)
            if found is not None:
                return found
            if not self._read_environment:
                self._from_environment()
            found = self._find(address[:MAX_ADDRESS])
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[address] = found
            return found
        except Exception as error:  # the host program must not notice
            self.last_error = f"{type(error).__name__}: {error}"[:500]
            return str(address)[:MAX_ADDRESS] if isinstance(address, str) else "?"

    def _find(self, address: str) -> str:
        host, port = split(address)
        name = join(host, port)
        found = self._exact.get(name) or self._exact.get(host)
        if found is not None:
            return found
        if self._networks:
            from ipaddress import ip_address

            try:
                ip = ip_address(host)
            except ValueError:
                pass
            else:
                for network, subject in self._networks:
                    if ip in network:
                        return subject
        for pattern, subject in self._patterns:
            matched = pattern.fullmatch(name)
            if matched:
                return matched.expand(subject) or name
        return name

    def _from_environment(self) -> None:
        self._read_environment = True
        path = os.environ.get("VAGUS_SUBJECTS", "")
        if path:
            try:
                self.load(path)
            except ConfigError as error:  # addresses are then called what they are
                self.last_error = str(error)

    def _room(self) -> None:
        if len(self._exact) + len(self._networks) + len(self._patterns) >= MAX_RULES:
            raise ConfigError(f"subjects: more than {MAX_RULES} rules")


def split(address: str) -> tuple[str, str]:
    """Host, in lower case and without brackets, and port; an empty port where there is none."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return host.lower(), port.removeprefix(":")
    if address.count(":") > 1:
        return address.lower(), ""  # an IPv6 address alone
    host, _, port = address.partition(":")
    return host.lower(), port


def join(host: str, port: str) -> str:
    """`host:port`, an IPv6 host in brackets; the host alone where there is no port."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _host_and_rest(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host.lower(), rest.removeprefix(":")
    host, _, rest = text.partition(":")
    return host.lower(), rest


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"subjects: cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"subjects: {path} has more than {MAX_FILE_BYTES} bytes")
    return data


subjects = Subjects()
"""Those of this process, which `vagus.trace_config` and the others ask."""
