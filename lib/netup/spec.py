"""The kernel's ip= (Documentation/admin-guide/nfs/nfsroot.rst) and dracut's shapes of it. No I/O.

  [AUTOCONF]
  CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1:NTP0   (nfsroot.rst)
  CLIENT:PEER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:MTU:MAC            (dracut.cmdline(7))
  DEVICE:AUTOCONF[:MTU[:MAC]]                                             (dracut.cmdline(7))
"""

import re
from typing import NamedTuple

from netup import values

METHODS = {
    "dhcp": "dhcp", "on": "dhcp", "any": "dhcp", "both": "dhcp", "single-dhcp": "dhcp",
    # The kernel's older protocols: whoever still serves them serves DHCP too.
    "bootp": "dhcp", "rarp": "dhcp",
    "auto6": "auto6", "either6": "auto6", "link6": "link6", "off": "off", "none": "off",
}
UNKNOWN_HERE = {"dhcp6": "DHCPv6", "ibft": "iBFT"}


class Want(NamedTuple):
    """One thing to bring up. `method` is dhcp, static, auto6, link6 or off; "" is not given."""

    method: str
    link: str = ""
    address: str = ""
    gateway: str = ""
    hostname: str = ""
    search: tuple = ()
    dns: tuple = ()
    ntp: tuple = ()
    mtu: int = 0
    mac: str = ""
    client_id: bytes = b""


def split(text):
    """`text` at its colons, except those inside [brackets] (IPv6 addresses)."""
    return [field.strip("[]") for field in re.findall(r"(?:^|(?<=:))((?:\[[^\]]*\]|[^:\[])*)", text)]


def method(word):
    """(method, client identifier) of an AUTOCONF word. Raises values.Refused."""
    name, comma, identifier = word.partition(",")
    if name in UNKNOWN_HERE:
        raise values.Refused(f"{UNKNOWN_HERE[name]} is not spoken here: {name}")
    if name not in METHODS or (comma and name != "dhcp"):
        values.refuse("autoconf", word)
    if not comma:
        return METHODS[name], b""
    kind, _, value = identifier.partition(",")
    if not kind.isascii() or not kind.isdigit() or int(kind) > 255 or not value:
        values.refuse("client identifier", identifier)
    return "dhcp", bytes([int(kind)]) + value.encode()


def parse(text):
    """The Want in `text`, the part after "ip=". Raises values.Refused."""
    if text.count("[") != text.count("]"):
        values.refuse("ip=", text)
    fields = split(text)
    if len(fields) == 1 and (not text or text.partition(",")[0] in {*METHODS, *UNKNOWN_HERE}):
        name, identifier = method(text or "off")
        return Want(name, client_id=identifier)
    if len(fields) >= 2 and fields[1].partition(",")[0] in {*METHODS, *UNKNOWN_HERE}:
        name, identifier = method(fields[1])
        mtu, mac = extras(fields[2:])
        return Want(name, values.link_name(fields[0]), mtu=mtu, mac=mac, client_id=identifier)
    return parse_full(fields)


def parse_full(fields):
    """The Want in the kernel's fields."""
    client, _, gateway, mask, hostname, device, auto = (fields + [""] * 7)[:7]
    rest = fields[7:]
    mtu, mac, dns, ntp = 0, "", (), ()
    if rest and (rest[0].isdigit() or len(rest) > 3):
        mtu, mac = extras(rest)
    else:
        dns = tuple(values.host(server, "name server") for server in rest[:2] if server)
        ntp = tuple(values.host(server, "time server") for server in rest[2:3] if server)
    name, identifier = method(auto) if auto else ("off" if client else "dhcp", b"")
    address = ""
    if client and client not in ("0.0.0.0", "any"):
        client, slash, size = client.partition("/")
        client = values.host(client)
        version = 6 if ":" in client else 4
        mask = size if slash else mask
        if not mask:
            mask = values.class_prefix(client) if version == 4 else 64
        address = f"{client}/{values.prefix(mask, version)}"
    # With an address, "off" means: use what is given here.
    if name == "off" and address:
        name = "static"
    elif name == "off" and not auto:
        name = "dhcp"
    host, _, search = hostname.partition(".")
    return Want(
        name, values.link_name(device) if device else "", address if name == "static" else "",
        values.host(gateway, "gateway") if gateway and gateway != "0.0.0.0" else "",
        values.hostname(host) if host else "", (values.domain(search),) if search else (),
        dns, ntp, mtu, mac, identifier)


def extras(fields):
    """(MTU, MAC) of dracut's last fields, where a MAC address was split at its colons."""
    mtu, mac = fields[0] if fields else "", ":".join(fields[1:])
    return values.mtu(mtu) if mtu else 0, values.mac(mac) if mac else ""
