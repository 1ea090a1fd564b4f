"""From settings to operations on links: (verb, link, {words}). No I/O."""

import ipaddress

from netup import values, wire

BY_DHCP, BY_ADMINISTRATOR = 16, 4  # route origins, linux/rtnetlink.h
SCOPE_LINK, ON_LINK, NO_DAD = 253, 4, 2


def merge(want, given=None):
    """The wire.Settings to apply: what was asked for comes before what the server gave."""
    given = given or wire.Settings(want.address)
    version = ipaddress.ip_interface(given.address).version
    default = ("0.0.0.0/0" if version == 4 else "::/0", want.gateway)
    return given._replace(
        routes=(default,) if want.gateway else given.routes, mtu=want.mtu or given.mtu,
        dns=tuple(dict.fromkeys(want.dns + given.dns)), search=want.search or given.search,
        hostname=want.hostname or given.hostname, ntp=want.ntp or given.ntp)


def operations(link, settings, lifetime=None):
    """What makes `link` have `settings`: a list of (verb, link, {words}).

    The address ends with its lease (`lifetime` in seconds, None: never), and the routes with
    the address: should the keeper die, no address is left that the server gives to another.
    """
    interface = ipaddress.ip_interface(settings.address)
    words = {"address": str(interface.ip), "prefixlen": interface.network.prefixlen}
    if interface.version == 6:
        # Given by hand, and not to be waited for.
        words["flags"] = NO_DAD
    elif interface.network.prefixlen < 31:
        words["broadcast"] = str(interface.network.broadcast_address)
    if lifetime is not None and lifetime < wire.FOREVER:
        words |= {"valid": lifetime, "preferred": lifetime}
    plan = [("mtu", link, {"mtu": settings.mtu})] if settings.mtu else []
    plan.append(("address", link, words))
    for net, gateway in sorted(settings.routes, key=lambda route: bool(route[1])):
        route = {"dst": net, "proto": BY_DHCP if settings.server else BY_ADMINISTRATOR}
        if interface.version == 4:
            route["prefsrc"] = str(interface.ip)
        if not gateway:
            route["scope"] = SCOPE_LINK
        else:
            route["gateway"] = gateway
            if ipaddress.ip_address(gateway) not in interface.network and not gateway.startswith("fe80:"):
                route["flags"] = ON_LINK
        plan.append(("route", link, route))
    return plan


def undo(plan, kept=()):
    """What takes back the addresses and routes of `plan` that are not in the plan `kept`."""
    names = {"address": ("address", "prefixlen"), "route": ("dst", "gateway")}

    def key(operation):
        verb, link, words = operation
        return verb, link, tuple(words.get(name) for name in names[verb])

    def reversible(plan):
        return [operation for operation in plan if operation[0] in names]

    stays = {key(operation) for operation in reversible(kept)}
    return [(f"no {verb}", link, {name: words[name] for name in names[verb] if name in words})
            for verb, link, words in reversed(reversible(plan)) if key((verb, link, words)) not in stays]


def as_text(operation):
    """An operation as a command line of ip(8)."""
    verb, link, words = operation
    if verb == "up":
        return f"ip link set dev {link} up"
    if verb == "mac":
        return f"ip link set dev {link} address {words['mac']}"
    if verb == "mtu":
        return f"ip link set dev {link} mtu {words['mtu']}"
    if verb == "vlan":
        return f"ip link add link {link} name {words['ifname']} type vlan id {words['vlan_id']}"
    change = "del" if verb.startswith("no ") else "replace"
    if verb.endswith("address"):
        line = f"ip address {change} {words['address']}/{words['prefixlen']}"
        for word, name in (("broadcast", "brd"), ("valid", "valid_lft"), ("preferred", "preferred_lft")):
            if word in words:
                line += f" {name} {words[word]}"
        return f"{line} dev {link}"
    line = f"ip route {change} {words['dst']}"
    for word, name in (("gateway", "via"), ("prefsrc", "src"), ("proto", "proto")):
        line += f" {name} {words[word]}" if word in words else ""
    return f"{line} dev {link}{' onlink' if 'flags' in words else ''}"


def vlan_on(name, vlan):
    """The operation that makes a VLAN link."""
    return "vlan", name, {"ifname": values.link_name(f"{name}.{vlan}"), "vlan_id": vlan}
