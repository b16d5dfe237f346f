"""What is known of one network device: its samples, whether it answers, and when it is asked again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vagus.clock import NS
from vagus.collectors import device_mib as mib
from vagus.collectors.device_mib import Address, Answer, Interface, Oid, Rows
from vagus.config import SnmpSettings, seconds
from vagus.model import Event, Field, Level, Sample, Scalar, Stream

INVENTORY_NS = 300 * NS  # names, speeds and addresses are read again after this, or when the device says they changed
MAX_RETRY_S = 60.0  # a silent device is asked this often, or as often as it is when well
MAX_ADDRESSES = 256
UPTIME_WRAP = 1 << 32  # hundredths of seconds: 497 days
NAN = float("nan")


class Unwrapped:
    """A 32-bit counter that goes on beyond its wraps."""

    __slots__ = ("_last", "_offset")

    def __init__(self) -> None:
        self._last = -1
        self._offset = 0

    def read(self, raw: int, restarted: bool) -> int:
        """The value that goes on. What went back by less than half the range, or in a restart, begins again."""
        if raw < self._last:
            wrapped = not restarted and (raw - self._last) % (1 << 32) < 1 << 31
            self._offset = self._offset + (1 << 32) if wrapped else 0
        self._last = raw
        return self._offset + raw


class DeviceState:
    """Turns answers into records. `label`: the name under which the streams of the device are known."""

    def __init__(self, node: str, device: SnmpSettings) -> None:
        self.device = device
        self.label = device.name or device.host
        self.named = bool(device.name)  # else it is called by its address until it says its own name
        self.answers = False  # at the last poll
        self.failures = 0
        self.error = ""
        self.interfaces: list[Interface] = []
        self.columns: tuple[Oid, ...] = ()  # to be read at each poll
        self._node = node
        self._asked = False
        self._down_since_ns = 0
        self._in_row = 0
        self._inventory_ns = -INVENTORY_NS
        self._marks: tuple[Any, ...] = ()
        self._uptime = -1
        self._wraps = 0
        self._limited = 0
        self._addresses: list[Address] = []
        self._names: dict[int, str] = {}
        self._counters: dict[tuple[Oid, Oid], Unwrapped] = {}
        self._streams: dict[tuple[str, tuple[tuple[str, str], ...]], Stream] = {}

    # --- when ------------------------------------------------------------------------------------------------------

    def delay_s(self) -> float:
        """Until the next poll: `every`, doubled with each failure in a row up to a minute."""
        every_s = max(0.05, seconds(self.device.every))
        return min(every_s * 2.0 ** min(self._in_row, 20), max(every_s, MAX_RETRY_S))

    def inventory_due(self, t_ns: int, answer: Answer) -> bool:
        """Whether names, speeds and addresses are to be read: long ago, or the device restarted or changed."""
        marks = (answer.get(mib.IF_NUMBER), answer.get(mib.IF_CHANGED), self._went_back(answer))
        changed, self._marks = marks[:2] != self._marks[:2] or marks[2], marks
        return changed or t_ns - self._inventory_ns >= INVENTORY_NS

    # --- what came -------------------------------------------------------------------------------------------------

    def call(self, name: str) -> None:
        """Gives the device the name that it has for itself."""
        self.label, self.named = name, True
        self._streams.clear()

    def inventory(
        self, t_ns: int, table: Mapping[Oid, Rows], addresses: Mapping[Oid, Sequence[tuple[Oid, Any]]]
    ) -> list[Event]:
        """Keeps what the interfaces are; an event when there are more than `max_interfaces`."""
        self._inventory_ns = t_ns
        found, most = mib.interfaces(table), self.device.max_interfaces
        self.interfaces = found[:most]
        self.columns = mib.columns(self.interfaces)
        self._addresses = list(mib.addresses(addresses))[:MAX_ADDRESSES]
        self._names = {interface.row[0]: interface.labels["interface"] for interface in self.interfaces}
        known = {interface.row for interface in self.interfaces}
        self._counters = {key: counter for key, counter in self._counters.items() if key[1] in known or not key[1]}
        if len(self._streams) > 2 * (len(self.interfaces) + len(self._addresses)) + 100:  # interfaces come and go
            self._streams.clear()
        was, self._limited = self._limited, len(found)
        if len(found) > most and was <= most:
            fields: dict[str, Scalar] = {"device": self.label, "read": most}
            return [self._event(t_ns, "device.interfaces_limited", Level.WARNING, fields)]
        return []

    def taken(self, t_ns: int, response_s: float, answer: Answer, table: Mapping[Oid, Rows]) -> list[Sample | Event]:
        """The records of a poll: single objects and, by column, the rows of all interfaces."""
        records: list[Sample | Event] = []
        if self._down_since_ns:
            fields: dict[str, Scalar] = {"device": self.label, "down_s": (t_ns - self._down_since_ns) / NS}
            records.append(self._event(t_ns, "device.recovered", Level.INFO, fields))
        restarted = self._went_back(answer)
        uptime = answer.get(mib.SYS_UPTIME)
        if isinstance(uptime, int):
            if uptime < self._uptime and not restarted:
                self._wraps += 1
            elif restarted:
                self._wraps = 0
                records.append(self._event(t_ns, "device.restarted", Level.WARNING, {"device": self.label}))
            self._uptime = uptime
        self._asked, self.answers, self._down_since_ns, self._in_row, self.error = True, True, 0, 0, ""
        records.append(self._system(t_ns, response_s, answer))
        records += self._groups(t_ns, answer, restarted)
        records += self._tables(t_ns, table, restarted)
        return records

    def failed(self, t_ns: int, error: str) -> list[Sample | Event]:
        """The records of a poll without an answer."""
        self.failures += 1
        self._in_row += 1
        records: list[Sample | Event] = []
        if self.answers or not self._asked:
            fields = {"device": self.label, "host": self.device.host, "error": error[:500]}
            records.append(self._event(t_ns, "device.unreachable", Level.ERROR, fields))
            self._down_since_ns = t_ns
        self._asked, self.answers, self.error = True, False, error
        records.append(Sample(self._system_stream(), t_ns, (0, NAN, NAN, NAN, NAN, self.failures)))
        return records

    def _went_back(self, answer: Answer) -> bool:
        """Whether the device restarted since the last poll; an uptime that only wrapped was close to its end."""
        uptime = answer.get(mib.SYS_UPTIME)
        return isinstance(uptime, int) and uptime < self._uptime < UPTIME_WRAP - 86_400 * 100

    # --- streams ---------------------------------------------------------------------------------------------------

    def _stream(self, kind: str, fields: tuple[Field, ...], **labels: str) -> Stream:
        key = kind, tuple(labels.items())
        stream = self._streams.get(key)
        if stream is None or stream.fields != fields:
            stream = self._streams[key] = Stream(self._node, kind, fields, {"device": self.label, **labels})
        return stream

    def _system_stream(self) -> Stream:
        return self._stream("snmp.system", mib.SYSTEM_FIELDS, host=self.device.host)

    def _system(self, t_ns: int, response_s: float, answer: Answer) -> Sample:
        uptime_s = (self._uptime + self._wraps * UPTIME_WRAP) / 100 if self._uptime >= 0 else NAN
        count, forwards = answer.get(mib.IF_NUMBER), answer.get(mib.IP_FORWARDING)
        values = (
            *(1, response_s, uptime_s),
            float(count) if isinstance(count, int) else NAN,
            float(forwards == 1) if forwards is not None else NAN,
            self.failures,
        )
        return Sample(self._system_stream(), t_ns, values)

    def _groups(self, t_ns: int, answer: Answer, restarted: bool) -> list[Sample]:
        samples = []
        for group in mib.GROUPS:
            if group.objects[0][0] not in answer:
                continue
            there = [(oid, field, factor) for oid, field, factor in group.objects if isinstance(answer.get(oid), int)]
            values: list[float | int] = []
            for oid, field, factor in there:
                raw = max(0, int(answer[oid]))
                if field.counter:
                    values.append(self._count(oid, (), raw, 32, restarted))
                else:
                    values.append(raw * factor if field.dtype == "f8" else int(raw * factor))
            if values:
                samples.append(Sample(self._stream(group.kind, tuple(f for _, f, _ in there)), t_ns, tuple(values)))
        return samples

    def _tables(self, t_ns: int, table: Mapping[Oid, Rows], restarted: bool) -> list[Sample]:
        samples = []
        for interface in self.interfaces:
            values: list[float | int] = []
            index = interface.row
            for _, column, bits in mib.counters(interface.wide):
                raw = table.get(column, {}).get(index)
                if not isinstance(raw, int) or raw < 0:
                    break  # it went since the inventory, or has no counters
                values.append(self._count(column, index, raw, bits, restarted))
            else:
                values += [*mib.states(table, index), interface.speed_bps]
                stream = self._stream("snmp.interface", mib.INTERFACE_FIELDS, **interface.labels)
                samples.append(Sample(stream, t_ns, tuple(values)))
        for address in self._addresses:
            labels = {"address": address.address, "network": address.network}
            interface_name = self._names.get(address.if_index, str(address.if_index))
            stream = self._stream("snmp.address", mib.ADDRESS_FIELDS, interface=interface_name, **labels)
            samples.append(Sample(stream, t_ns, (address.if_index, address.prefix_bits)))
        return samples

    def _count(self, column: Oid, index: Oid, raw: int, bits: int, restarted: bool) -> int:
        if bits == 64:
            return raw
        counter = self._counters.get((column, index))
        if counter is None:
            counter = self._counters[column, index] = Unwrapped()
        return counter.read(raw, restarted)

    def _event(self, t_ns: int, event: str, level: Level, fields: Mapping[str, Scalar]) -> Event:
        return Event(t_ns, event, self._node, level, "snmp", dict(fields))
