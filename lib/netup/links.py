"""Network links, by ioctl: what there is and whether it has a carrier.

Not from sysfs, which shows the namespace it was mounted in, and not by pyroute2: links are
up, and their carriers on the way, while Python still imports it. Facts: netdevice(7),
linux/ethtool.h, linux/rtnetlink.h.
"""

import array
import errno
import fcntl
import socket
import struct
from typing import NamedTuple

from codaboot import facts

GIFFLAGS, SIFFLAGS, GIFADDR, SIFHWADDR, GIFHWADDR = 0x8913, 0x8914, 0x8915, 0x8924, 0x8927
ETHTOOL, GDRVINFO, GLINK = 0x8946, 3, 10
UP, LOOPBACK, RUNNING = 0x1, 0x8, 0x40
ETHERNET = 1
# Links that lead nowhere by themselves; used only when asked for by name.
NO_HARDWARE = {"bonding", "bridge", "dummy", "ifb", "team", "tun"}
GROUPS_LINK, GROUPS_IPV6_ADDRESS, GROUP_ND_USEROPT = 0x1, 0x100, 1 << 19


class Link(NamedTuple):
    """A link; `running` is: administratively up and with a carrier."""

    name: str
    mac: str
    driver: str
    ethernet: bool
    up: bool
    running: bool


def call(number, name, argument=b""):
    """One ioctl of netdevice(7); the 24 bytes after the name. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16s24s", name.encode(), argument)
        try:
            return fcntl.ioctl(control, number, request)[16:]
        except OSError as error:
            error.filename = name
            raise


def read(name):
    """The Link called `name`, or None when there is none (any more)."""
    try:
        flags, = struct.unpack_from("H", call(GIFFLAGS, name))
        family, address = hardware(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return Link(name, address, driver(name), family == ETHERNET,
                bool(flags & UP), bool(flags & UP and flags & RUNNING and carrier(name)))


def hardware(name):
    """(the kind of hardware, its address) of a link. Raises OSError."""
    family, address = struct.unpack_from("H6s", call(GIFHWADDR, name))
    return family, ":".join(f"{byte:02x}" for byte in address)


def carrier(name):
    """What the driver says about the carrier; True when it does not tell.

    Needed beside IFF_RUNNING, which is also set in the moment between the opening of a link
    and the kernel's first look at its carrier (operstates.rst, IF_OPER_UNKNOWN).
    """
    value = array.array("I", (GLINK, 0))
    try:
        call(ETHTOOL, name, struct.pack("P", value.buffer_info()[0]))
    except OSError:
        return True
    return bool(value[1])


def driver(name):
    """The name of the driver, "" when it does not tell."""
    information = array.array("B", struct.pack("I192x", GDRVINFO))
    try:
        call(ETHTOOL, name, struct.pack("P", information.buffer_info()[0]))
    except OSError:
        return ""
    return information.tobytes()[4:36].split(b"\0")[0].decode(errors="replace")


def all_links():
    """Every link there is."""
    return [link for _, name in socket.if_nameindex() if (link := read(name))]


def pick(table, wanted):
    """The names of the links in `table` that are candidates, in the order of `wanted`.

    A word in `wanted` is a name, a MAC address or a driver; nothing wanted is every
    Ethernet link that is hardware.
    """
    if not wanted:
        return [link.name for link in table if link.ethernet and link.driver not in NO_HARDWARE]
    found = [link.name for word in wanted for link in table
             if word in (link.name, link.driver) or word.lower().replace("-", ":") == link.mac]
    return list(dict.fromkeys(found))


def set_up(name):
    """Bring a link up. Raises OSError."""
    flags, = struct.unpack_from("H", call(GIFFLAGS, name))
    if not flags & UP:
        call(SIFFLAGS, name, struct.pack("H", flags | UP))


def set_mac(name, mac):
    """Give a link another hardware address; most drivers want it down. Raises OSError."""
    if read(name).mac == mac:
        return
    flags, = struct.unpack_from("H", call(GIFFLAGS, name))
    call(SIFFLAGS, name, struct.pack("H", flags & ~UP))
    call(SIFHWADDR, name, struct.pack("H6s", ETHERNET, bytes.fromhex(mac.replace(":", ""))))


def prepare(want, name, root="/"):
    """Bring a link up as the spec.Want asks for. Raises OSError."""
    if want.mac:
        set_mac(name, want.mac)
    if want.method == "auto6":
        # ip-sysctl.rst: listen to routers, even (2) when this machine forwards.
        for key, value in (("disable_ipv6", "0"), ("accept_ra", "2"), ("autoconf", "1")):
            with open(facts.under(root, f"/proc/sys/net/ipv6/conf/{name}/{key}"), "r+") as file:
                if file.read().strip() != value:
                    file.write(value)
    set_up(name)


def watch():
    """A netlink socket that becomes readable when a link or an IPv6 address changes."""
    watcher = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    watcher.bind((0, GROUPS_LINK | GROUPS_IPV6_ADDRESS | GROUP_ND_USEROPT))
    return watcher


def global_addresses(text, name):
    """The IPv6 addresses of link `name` that reach beyond it and are ready, from if_inet6.

    Columns: address, index, prefix length, scope, flags, name (addrconf.c, if6_seq_show).
    """
    found = []
    for row in text.splitlines():
        address, _, _, scope, flags, link = row.split()
        # Not host or link scope; not tentative (0x40) nor a duplicate (0x08): linux/if_addr.h
        if link == name and int(scope, 16) not in (0x10, 0x20) and not int(flags, 16) & 0x48:
            found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)))
    return found


def address(name):
    """The first IPv4 address of a link, "" without one."""
    try:
        return socket.inet_ntoa(call(GIFADDR, name, struct.pack("H", socket.AF_INET))[4:8])
    except OSError:
        return ""
