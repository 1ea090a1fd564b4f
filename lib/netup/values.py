"""Values from outside (the wire, the kernel command line, a file) that must be well-formed.

Each function returns the value in its one canonical form or raises Refused, whose text names
the kind of value and shows it escaped and cut, so that it can be said on a console.
"""

import ipaddress
import re

LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class Refused(ValueError):
    """A value that is not well-formed; the text is for people."""


def refuse(kind, value):
    """Raise Refused for `value`, a `kind`."""
    raise Refused(f"{kind} {ascii(value)[:100]}")


def host(value, kind="address", version=None):
    """An IP address one machine can have. `version` is 4, 6 or None for both."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        refuse(kind, value)
    if (version not in (None, address.version) or address.is_multicast or address.is_unspecified
            or address.is_loopback or address == ipaddress.IPv4Address("255.255.255.255")
            or getattr(address, "scope_id", None)):
        refuse(kind, value)
    return str(address)


def prefix(mask, version=4, kind="netmask"):
    """The length of a netmask given as a length or as 255.255.255.0."""
    try:
        # ip_network takes host masks (0.0.0.255) too, which nobody means.
        number = int(mask) if str(mask).isascii() and str(mask).isdigit() else None
        if number is None:
            bits = int(ipaddress.IPv4Address(mask)) if version == 4 else refuse(kind, mask)
            number = bits.bit_count()
            if bits != (0xFFFFFFFF << (32 - number)) & 0xFFFFFFFF:
                refuse(kind, mask)
    except ipaddress.AddressValueError:
        refuse(kind, mask)
    if not 1 <= number <= (32 if version == 4 else 128):
        refuse(kind, mask)
    return number


def class_prefix(address):
    """The netmask length of an IPv4 address by its class, as net/ipv4/ipconfig.c has it."""
    first = int(address.split(".")[0])
    return 8 if first < 128 else 16 if first < 192 else 24


def network(value, kind="route"):
    """A destination as ADDRESS/LENGTH; bits below the mask are dropped, as RFC 3442 wants."""
    try:
        net = ipaddress.ip_network(value, strict=False)
    except ValueError:
        refuse(kind, value)
    if net.is_multicast or (net.prefixlen and (net.is_loopback or net.network_address.is_loopback)):
        refuse(kind, value)
    return str(net)


def domain(value, kind="domain name"):
    """A domain name of letters, digits, '-', '_' and '.' (RFC 1035 2.3.4 has the lengths)."""
    text = value.removesuffix(".")
    if len(text) > 253 or not all(LABEL.fullmatch(label) for label in text.split(".")):
        refuse(kind, value)
    return text


def hostname(value, kind="host name"):
    """A host name, at most the 64 bytes Linux holds."""
    text = domain(value, kind)
    if len(text) > 64 or "_" in text:
        refuse(kind, value)
    return text


def mtu(value, kind="MTU"):
    """Bytes in a packet. Below 576 (RFC 791) or above 65535 is refused."""
    if not str(value).isascii() or not str(value).isdigit() or not 576 <= int(value) <= 65535:
        refuse(kind, value)
    return int(value)


def mac(value, kind="MAC address"):
    """A hardware address of six bytes for one machine, in lower case with colons."""
    text = value.replace("-", ":").lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", text) or int(text[:2], 16) & 1:
        refuse(kind, value)
    return text


def link_name(value, kind="link name"):
    """A name the kernel gives to links (dev_valid_name in net/core/dev.c), plain ASCII only."""
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,15}", value) or value in (".", ".."):
        refuse(kind, value)
    return value


def resolv_conf(sources, dns, search):
    """The text of resolv.conf(5); the resolver reads three name servers."""
    lines = [f"# from {sources}, by coda-netup(8)"]
    if search:
        lines.append(f"search {' '.join(search)}")
    lines += [f"nameserver {address}" for address in dns[:3]]
    return "\n".join(lines) + "\n"
