"""The lease file: what a server gave, to whom and when, and whether it still counts. No I/O.

One JSON object: "asked" (the question, as the command line put it) and "leases".
"""

import json
from typing import NamedTuple

from netup import values, wire


class Moment(NamedTuple):
    """A time on two clocks: seconds since the boot `boot_id`, and since 1970."""

    boot_id: str
    boottime: float
    clock: float


class Lease(NamedTuple):
    """A lease of the link `link` with hardware address `mac`, got at the Moment `when`."""

    link: str
    mac: str
    server_mac: str
    when: Moment
    settings: wire.Settings


def to_text(asked, leases):
    """The text of a lease file."""
    rows = [{**lease._asdict(), "when": lease.when._asdict(), "settings": lease.settings._asdict()}
            for lease in leases]
    return json.dumps({"asked": asked, "leases": rows}, indent=1) + "\n"


def from_text(text):
    """(question, leases) in the text of a lease file, each value checked again.

    Raises values.Refused.
    """
    try:
        whole = json.loads(text)
        return list(map(str, whole["asked"])), [_lease(row) for row in whole["leases"]]
    except values.Refused:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise values.Refused("lease file: not one of coda-netup") from None


def _lease(row):
    given, when = row["settings"], row["when"]
    address, _, size = given["address"].partition("/")
    settings = wire.Settings(
        f"{values.host(address, version=4)}/{values.prefix(size)}",
        tuple((values.network(net), via and values.host(via, "gateway", 4)) for net, via in given["routes"]),
        given["mtu"] and values.mtu(given["mtu"]),
        tuple(values.host(server, "name server") for server in given["dns"]),
        tuple(values.domain(name) for name in given["search"]),
        given["hostname"] and values.hostname(given["hostname"]),
        tuple(values.host(server, "time server") for server in given["ntp"]),
        values.host(given["server"], "server"), *(int(given[key]) for key in ("lease_time", "t1", "t2")))
    return Lease(
        values.link_name(row["link"]), values.mac(row["mac"]), values.mac(row["server_mac"]),
        Moment(str(when["boot_id"]), float(when["boottime"]), float(when["clock"])), settings)


def seconds_left(lease, now):
    """How long `lease` is still valid at the Moment `now`. Raises values.Refused: it is not.

    In the boot it was made in, the clock since boot tells. In a later one only the time of
    day can, and it is believed only where it runs on from the lease's: a machine whose
    clock starts in 1970, or was 1970 when the lease came, cannot know, and then the address
    may long be somebody else's.
    """
    total = lease.settings.lease_time
    if total >= wire.FOREVER:
        return wire.FOREVER
    if now.boot_id == lease.when.boot_id:
        age = now.boottime - lease.when.boottime
    else:
        # 2020: no clock that was ever set is before the first version of this program.
        if lease.when.clock < 1577836800 or now.clock < lease.when.clock:
            raise values.Refused("lease: its age is unknown, as the clock was or is not set")
        age = now.clock - lease.when.clock
    if not 0 <= age < total:
        raise values.Refused(f"lease: it ran out {age - total:.0f} s ago")
    return int(total - age)
