"""DHCP as it comes from the wire: frames to options, options to settings. No I/O.

pyroute2 decodes options too, but stops with various exceptions at what it does not like, and
a frame must not end the client. Facts: RFC 2131, 2132, 3396 (long options), 3397 (search
list), 3442 (classless routes).
"""

import ipaddress
import struct
from typing import NamedTuple

from netup import values

MASK, ROUTER, DNS, HOST_NAME, DOMAIN, MTU, NTP = 1, 3, 6, 12, 15, 26, 42
OVERLOAD, LEASE_TIME, MESSAGE_TYPE, SERVER_ID, T1, T2, SEARCH, ROUTES = 52, 51, 53, 54, 58, 59, 119, 121
ASKED = (MASK, ROUTER, DNS, HOST_NAME, DOMAIN, MTU, NTP, LEASE_TIME, T1, T2, SEARCH, ROUTES)
OFFER, ACK, NAK = 2, 5, 6
FOREVER = 0xFFFFFFFF


class Packet(NamedTuple):
    """A DHCP answer: its sender, whom it is for (`mac`), and its options by number."""

    server_mac: str
    server_address: str
    mac: str
    xid: int
    address: str
    options: dict


class Settings(NamedTuple):
    """What a server gives: well-formed values only. Times are in seconds."""

    address: str
    routes: tuple = ()
    mtu: int = 0
    dns: tuple = ()
    search: tuple = ()
    hostname: str = ""
    ntp: tuple = ()
    server: str = ""
    lease_time: int = FOREVER
    t1: int = 0
    t2: int = 0


def parse_frame(frame):
    """The DHCP answer in an Ethernet frame, or None where it is none or is damaged."""
    if len(frame) < 14 + 20 or frame[12:14] != b"\x08\x00":
        return None
    size = (frame[14] & 15) * 4
    total, fragment, protocol = (*struct.unpack_from("!H2xH", frame, 16), frame[23])
    datagram = frame[14 + size:14 + total]
    if frame[14] >> 4 != 4 or size < 20 or protocol != 17 or fragment & 0x3FFF or len(datagram) < 248:
        return None
    port, length = struct.unpack_from("!2xHH", datagram)
    data = datagram[8:length]
    if port != 68 or len(data) < 240 or data[0:3] != b"\x02\x01\x06" or data[236:240] != b"c\x82Sc":
        return None
    try:
        options = parse_options(data[240:])
        overload = options.get(OVERLOAD, b"\0")[0]
        if overload & 1:
            options = parse_options(data[108:236], options)
        if overload & 2:
            options = parse_options(data[44:108], options)
    except (ValueError, IndexError):
        return None
    if len(options.get(MESSAGE_TYPE, b"")) != 1:
        return None
    return Packet(colons(frame[6:12]), dotted(frame[26:30]), colons(data[28:34]),
                  int.from_bytes(data[4:8], "big"), dotted(data[16:20]), options)


def parse_options(data, options=None):
    """Options by number; parts of one option are joined (RFC 3396). Raises ValueError."""
    options, at = dict(options or {}), 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        part = data[at + 2:at + 2 + data[at + 1]] if at + 1 < len(data) else b""
        if at + 1 >= len(data) or len(part) != data[at + 1]:
            raise ValueError("an option runs past the end")
        options[data[at]] = options.get(data[at], b"") + part
        at += 2 + len(part)
    return options


def colons(data):
    """Bytes as a hardware address."""
    return ":".join(f"{byte:02x}" for byte in data)


def dotted(data):
    """Four bytes as an IPv4 address."""
    return str(ipaddress.IPv4Address(data))


def settings(packet):
    """(Settings, what was refused) of an offer or acknowledgement.

    A value that is not well-formed is left out and named; without a usable address there
    is nothing left, and values.Refused is raised.
    """
    options, refused = packet.options, []

    def take(code, read, default):
        try:
            return read(options[code]) if code in options else default
        except values.Refused as error:
            refused.append(str(error))
            return default

    address = values.host(packet.address, version=4)
    server = options.get(SERVER_ID, b"")
    server = values.host(dotted(server) if len(server) == 4 else server, "server identifier", 4)
    lease_time = whole(options.get(LEASE_TIME, b""), 4, "lease time")
    if lease_time == 0:
        values.refuse("lease time", lease_time)
    size = take(MASK, lambda data: values.prefix(addresses(data, "netmask")[0]), values.class_prefix(address))
    routes = take(ROUTES, classless_routes, None)
    if routes is None:
        routers = take(ROUTER, lambda data: hosts(data, "router"), ())
        routes = tuple(("0.0.0.0/0", router) for router in routers[:1])
    name = take(DOMAIN, lambda data: values.domain(text(data, "domain name")), "")
    search = take(SEARCH, search_list, ()) or ((name,) if name else ())
    t1 = take(T1, lambda data: whole(data, 4, "renewal time"), 0)
    t2 = take(T2, lambda data: whole(data, 4, "rebinding time"), 0)
    if not 0 < t1 < t2 < lease_time:
        # RFC 2131 4.4.5
        t1, t2 = lease_time // 2, lease_time * 7 // 8
    return Settings(
        f"{address}/{size}", routes,
        take(MTU, lambda data: values.mtu(whole(data, 2, "MTU")), 0),
        take(DNS, lambda data: hosts(data, "name server"), ()), search,
        take(HOST_NAME, lambda data: values.hostname(text(data, "host name")), ""),
        take(NTP, lambda data: hosts(data, "time server"), ()),
        server, lease_time, t1, t2), refused


def whole(data, size, kind):
    """A number of `size` bytes."""
    if len(data) != size:
        values.refuse(kind, data)
    return int.from_bytes(data, "big")


def text(data, kind):
    """A string; servers may end it with NULs (RFC 2132 2)."""
    data = data.rstrip(b"\0")
    if not data.isascii():
        values.refuse(kind, data)
    return data.decode("ascii")


def addresses(data, kind):
    """The IPv4 addresses in an option, whatever they are."""
    if not data or len(data) % 4:
        values.refuse(kind, data)
    return tuple(dotted(data[at:at + 4]) for at in range(0, len(data), 4))


def hosts(data, kind):
    """The IPv4 addresses in an option, each one a machine's."""
    return tuple(values.host(address, kind, 4) for address in addresses(data, kind))


def classless_routes(data):
    """Option 121 as ((destination, gateway or ""), ...); one bad route refuses them all.

    Some routes of a list are not the network its author meant, and option 3 must not be
    used beside option 121.
    """
    routes, at = [], 0
    while at < len(data):
        size = data[at]
        end = at + 1 + (size + 7) // 8
        if size > 32 or end + 4 > len(data):
            values.refuse("route", data[at:])
        net = values.network(f"{dotted(data[at + 1:end].ljust(4, bytes(1)))}/{size}")
        gateway = dotted(data[end:end + 4])
        routes.append((net, "" if gateway == "0.0.0.0" else values.host(gateway, f"gateway to {net}", 4)))
        at = end + 4
    if not routes:
        values.refuse("route", data)
    return tuple(routes)


def search_list(data):
    """Option 119: domain names as in DNS packets, with pointers backwards."""
    names, at = [], 0
    while at < len(data):
        labels, here, after, least = [], at, None, at
        while True:
            if here >= len(data):
                values.refuse("search list", data)
            size = data[here]
            if size >= 192:
                target = (size & 63) << 8 | data[here + 1] if here + 1 < len(data) else here
                # Only backwards, further each time: a loop is impossible.
                if target >= least:
                    values.refuse("search list", data)
                after = here + 2 if after is None else after
                here = least = target
            elif size == 0:
                after = here + 1 if after is None else after
                break
            elif size > 63 or here + 1 + size > len(data):
                values.refuse("search list", data)
            else:
                labels.append(text(data[here + 1:here + 1 + size].replace(b".", b"\\"), "search domain"))
                here += 1 + size
        names.append(values.domain(".".join(labels), "search domain"))
        at = after
    return tuple(names)


def router_options(data):
    """(name servers, search list) in the options of a router advertisement (RFC 8106)."""
    dns, search, at = [], [], 0
    try:
        while at + 8 <= len(data) and data[at + 1]:
            option = data[at:at + 8 * data[at + 1]]
            lifetime = int.from_bytes(option[4:8], "big")
            if option[0] == 25 and lifetime:
                dns += [values.host(ipaddress.IPv6Address(option[i:i + 16]), "name server")
                        for i in range(8, len(option) - 15, 16)]
            elif option[0] == 31 and lifetime:
                # The list is padded with zero bytes, which would read as empty names.
                search += search_list(option[8:].rstrip(b"\0") + b"\0")
            at += len(option)
    except values.Refused:
        pass
    return tuple(dns), tuple(search)
