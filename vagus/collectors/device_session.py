"""One conversation with one network device, by pysnmp: the only file that imports it, and only when one is read.

pysnmp's engine never answers again for an SNMPv3 device that restarted (its boots count on, RFC 3414 2.2.3): a session
that failed is closed, and the next poll opens another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from vagus.collectors.device_mib import Oid, Value
from vagus.config import SnmpSettings, seconds
from vagus.errors import CollectError, ConfigError

MAX_OBJECTS = 60  # of one answer: about 1400 bytes, which no network cuts into fragments
MAX_RESOLVED = 5000
MAX_REQUESTS = 500  # of one walk
MAX_KEY_FILE_BYTES = 4096
MIN_PHRASE = 8  # RFC 3414 11.2
TOO_BIG, AUTHORIZATION_ERROR = 1, 16

Table = dict[Oid, list[tuple[Oid, Any]]]
"""By column: index and value of each row, in their order; values are int, bytes, or an Oid."""


class Session(Protocol):
    """Asks one device. Both methods raise CollectError."""

    async def get(self, objects: Sequence[Oid]) -> dict[Oid, Value]:
        """The objects that the device has."""

    async def walk(self, columns: Sequence[Oid], most: int) -> Table:
        """The first `most` rows of each column."""

    def close(self) -> None: ...


class SnmpSession:
    """A Session over UDP. Made by `open`."""

    def __init__(self, device: SnmpSettings, engine: Any, credentials: Any, target: Any) -> None:
        from pysnmp.hlapi.v3arch import asyncio as snmp

        self._snmp = snmp
        self._where = f"{device.host}:{device.port}"
        self._version = device.version
        self._timeout_s = seconds(device.timeout)
        self._asked_with = (credentials, target, snmp.ContextData())
        self._engine = engine
        self._resolved: dict[Oid, Any] = {}  # pysnmp looks each up in its MIBs once: a third of a request's cost

    @classmethod
    async def open(cls, device: SnmpSettings) -> SnmpSession:
        """Reads the credentials and resolves the host. Raises ConfigError (a file), CollectError."""
        credentials = read_credentials(device)
        from pysnmp.error import PySnmpError
        from pysnmp.hlapi.v3arch import asyncio as snmp

        transport = snmp.Udp6TransportTarget if ":" in device.host else snmp.UdpTransportTarget
        try:
            address = (device.host, device.port)
            target = await transport.create(address, timeout=seconds(device.timeout), retries=1)
        except PySnmpError as error:
            raise CollectError(f"{device.host} does not resolve: {error}; use its address") from error
        return cls(device, snmp.SnmpEngine(), credentials, target)

    async def get(self, objects: Sequence[Oid]) -> dict[Oid, Value]:
        found: dict[Oid, Value] = {}
        for first in range(0, len(objects), MAX_OBJECTS):
            wanted = objects[first : first + MAX_OBJECTS]
            status, bindings = await self._ask(self._snmp.get_cmd, wanted)
            if status:
                raise CollectError(f"{self._where} refuses a request: error status {status} of RFC 3416")
            found.update((oid, value) for oid, value in bindings if value is not None)
        return found

    async def walk(self, columns: Sequence[Oid], most: int) -> Table:
        table: Table = {column: [] for column in columns}
        last = {column: column for column in columns}
        going = list(columns)
        rows = max(1, min(most, MAX_OBJECTS // len(columns)))
        for _ in range(MAX_REQUESTS):
            status, bindings = await self._ask(self._snmp.bulk_cmd, [last[c] for c in going], 0, rows)
            if status == TOO_BIG and rows > 1:
                rows = max(1, rows // 2)
                continue
            if status or not bindings:
                raise CollectError(f"{self._where} refuses to be walked: error status {status} of RFC 3416")
            ended = set()
            for i, (oid, value) in enumerate(bindings):
                column = going[i % len(going)]
                if column in ended:
                    continue
                if value is None or oid[: len(column)] != column:
                    ended.add(column)
                    continue
                if oid <= last[column]:
                    raise CollectError(
                        f"{self._where} walks in a circle at {'.'.join(map(str, oid))}: its agent is broken"
                    )
                last[column] = oid
                table[column].append((oid[len(column) :], value))
                if len(table[column]) >= most:
                    ended.add(column)
            going = [column for column in going if column not in ended]
            if not going:
                return table
        raise CollectError(f"{self._where}: a table did not end within {MAX_REQUESTS} requests")

    async def _ask(self, command: Any, objects: Sequence[Oid], *how: int) -> tuple[int, list[tuple[Oid, Any]]]:
        """The error status, and the objects in the answer; None as value where there is none."""
        from pyasn1.error import PyAsn1Error
        from pysnmp.error import PySnmpError

        snmp, (credentials, target, context) = self._snmp, self._asked_with
        if len(self._resolved) > MAX_RESOLVED:
            self._resolved.clear()
        for oid in objects:
            if oid not in self._resolved:
                self._resolved[oid] = snmp.ObjectType(snmp.ObjectIdentity(oid))
        wanted = [self._resolved[oid] for oid in objects]
        asked = command(self._engine, credentials, target, context, *how, *wanted, lookupMib=False)
        try:
            # its own time-out counts in half seconds, and two requests go before the first of version 3
            wrong, status, _, bindings = await asyncio.wait_for(asked, 4 * self._timeout_s + 2)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise CollectError(self._silent()) from error
        except (PySnmpError, PyAsn1Error, OSError) as error:
            raise CollectError(f"{self._where}: {type(error).__name__}: {str(error)[:200]}") from error
        if wrong is not None:
            raise CollectError(self._explained(wrong))
        if int(status) == AUTHORIZATION_ERROR:
            raise CollectError(
                f"{self._where} does not let this user read: give it a view, or the security level it asks"
            )
        return int(status), [(oid.asTuple(), _plain(value)) for oid, value in bindings]

    def _silent(self) -> str:
        perhaps = "another community" if self._version == "2c" else "a wrong phrase of privacy"
        return f"{self._where} does not answer within {self._timeout_s:g} s: it is down, filtered, or has {perhaps}"

    def _explained(self, wrong: Any) -> str:
        name = type(wrong).__name__
        if name == "RequestTimedOut":
            return self._silent()
        if name in ("WrongDigest", "AuthenticationFailure"):
            return f"{self._where}: the phrase of authentication (or `auth`) is wrong"
        if name in ("UnknownUserName", "UnknownSecurityName"):
            return f"{self._where} knows no such user"
        if name == "DecryptionError":
            return f"{self._where}: the phrase of privacy (or `privacy`) is wrong"
        return f"{self._where}: {wrong}"[:300]

    def close(self) -> None:
        self._engine.close_dispatcher()


def read_credentials(device: SnmpSettings) -> Any:
    """pysnmp's CommunityData or UsmUserData. Raises ConfigError: a file is missing, or does not hold what it must."""
    from pysnmp.hlapi.v3arch import asyncio as snmp

    if device.version == "2c":
        community = (_lines(device, device.community_file, "community_file") or ["public"])[0]
        return snmp.CommunityData(community)
    if not device.user:
        raise ConfigError(f"snmp {device.host}: version 3 needs `user`")
    auth, privacy = device.auth, device.privacy if device.auth != "none" else "none"
    phrases = _lines(device, device.key_file, "key_file") if auth != "none" else []
    needed = (auth != "none") + (privacy != "none")
    if len(phrases) < needed or min(map(len, phrases[:needed]), default=MIN_PHRASE) < MIN_PHRASE:
        raise ConfigError(
            f"snmp {device.host}: key_file {device.key_file or '(not set)'} must hold {needed} line(s): the phrases of "
            f"authentication and privacy, of at least {MIN_PHRASE} characters each"
        )
    protocols = {
        "none": snmp.USM_AUTH_NONE,
        "sha": snmp.USM_AUTH_HMAC96_SHA,
        "sha256": snmp.USM_AUTH_HMAC192_SHA256,
        "sha512": snmp.USM_AUTH_HMAC384_SHA512,
    }
    ciphers = {"none": snmp.USM_PRIV_NONE, "aes": snmp.USM_PRIV_CFB128_AES, "aes256": snmp.USM_PRIV_CFB256_AES}
    return snmp.UsmUserData(
        device.user,
        authKey=phrases[0] if auth != "none" else None,
        privKey=phrases[1] if privacy != "none" else None,
        authProtocol=protocols[auth],
        privProtocol=ciphers[privacy],
    )


def _lines(device: SnmpSettings, path: str, key: str) -> list[str]:
    if not path:
        return []
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(MAX_KEY_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"snmp {device.host}: cannot read {key} {path}: {error}") from error
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines:
        raise ConfigError(f"snmp {device.host}: {key} {path} is empty")
    return lines


def _plain(value: Any) -> Any:
    """An ASN.1 value as int, bytes or tuple; None for `no such object` and the like (which are Null)."""
    from pyasn1.type import univ

    if isinstance(value, univ.Null):
        return None
    if isinstance(value, univ.Integer):
        return int(value)
    if isinstance(value, univ.ObjectIdentifier):
        return value.asTuple()
    if isinstance(value, univ.OctetString):
        return value.asOctets()
    return None
