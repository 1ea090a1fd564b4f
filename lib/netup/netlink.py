"""The operations of a plan, said to the kernel by netlink.

pyroute2 says the same, and to import what it needs for that takes longer than the whole
dialogue with a DHCP server. Facts: rtnetlink(7), linux/{rtnetlink,if_addr,if_link}.h.
"""

import errno
import ipaddress
import os
import socket
import struct

NEWLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE = 16, 20, 21, 24, 25
REQUEST, ACK, REPLACE, EXCLUSIVE, CREATE = 1, 4, 0x100, 0x200, 0x400
TABLE_MAIN, UNICAST, ANY_SCOPE = 254, 1, 255
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# Already there, or already gone.
HARMLESS = {"vlan": errno.EEXIST, "no address": errno.EADDRNOTAVAIL, "no route": errno.ESRCH}


def attribute(kind, value):
    """An attribute; a number is one of 32 bits."""
    value = struct.pack("=I", value) if isinstance(value, int) else value
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(operation, index):
    """What does an operation (verb, link, {words}) on the link number `index`: (type, flags, body)."""
    verb, _, words = operation
    change = 0 if verb.startswith("no ") else CREATE | REPLACE
    if verb == "mtu":
        return NEWLINK, 0, struct.pack("=4xi8x", index) + attribute(4, words["mtu"])
    if verb == "vlan":
        number = attribute(1, struct.pack("=H", words["vlan_id"]))
        return NEWLINK, CREATE | EXCLUSIVE, bytes(16) + attribute(5, index) + attribute(
            3, words["ifname"].encode()) + attribute(18, attribute(1, b"vlan") + attribute(2, number))
    if verb.endswith("address"):
        return NEWADDR if change else DELADDR, change, _address(words, index)
    return NEWROUTE if change else DELROUTE, change, _route(words, index, change)


def _address(words, index):
    """struct ifaddrmsg and its attributes."""
    address = ipaddress.ip_address(words["address"])
    body = struct.pack("=BB2xI", FAMILY[address.version], words["prefixlen"], index)
    body += attribute(1, address.packed) + attribute(2, address.packed)
    if "broadcast" in words:
        body += attribute(4, socket.inet_aton(words["broadcast"]))
    if "valid" in words:
        body += attribute(6, struct.pack("=II8x", words["preferred"], words["valid"]))
    return body + (attribute(8, words["flags"]) if "flags" in words else b"")


def _route(words, index, add):
    """struct rtmsg and its attributes."""
    net = ipaddress.ip_network(words["dst"])
    scope, kind = (words.get("scope", 0), UNICAST) if add else (ANY_SCOPE, 0)
    body = struct.pack("=BB2xBBBBI", FAMILY[net.version], net.prefixlen, TABLE_MAIN, words.get("proto", 0),
                       scope, kind, words.get("flags", 0)) + attribute(4, index)
    if net.prefixlen:
        body += attribute(1, net.network_address.packed)
    for word, number in (("prefsrc", 7), ("gateway", 5)):
        if word in words:
            body += attribute(number, ipaddress.ip_address(words[word]).packed)
    return body


def apply(operations):
    """Do the operations of a plan in turn. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        for operation in operations:
            verb, link, _ = operation
            kind, flags, body = message(operation, socket.if_nametoindex(link))
            kernel.send(struct.pack("=IHHII", 16 + len(body), kind, REQUEST | ACK | flags, 0, 0) + body)
            # The answer is there when the call returns: an nlmsgerr, with a number that is 0 or below.
            number = -struct.unpack_from("=i", kernel.recv(4096), 16)[0]
            if number and number != HARMLESS.get(verb):
                raise OSError(number, os.strerror(number), link)
