"""The words of venus's tools, which exit 0 whatever happened, and its errors, which say little."""

import errno

# What it means when an object in Coda cannot be read.
HINTS = {
    errno.EIO: "no server gives its data, or it is larger than venus's cache (cachesize in venus.conf)",
    errno.ETIMEDOUT: "it is not in venus's cache, and no server answers",
    errno.ENXIO: "venus is gone: coda-venus-start(8)",
}
CONNECTED, WEAK, DISCONNECTED = "connected", "weak", "disconnected"


def connection(listed):
    """The state of a volume in the output of 'cfs lv -local'; None when it tells none.

    Weak is: the server is reached, and changes of this machine wait to be sent.
    """
    state = listed.partition("Connection State is ")[2].partition("\n")[0].strip()
    if not state:
        return None
    if state == "Unreachable":
        return DISCONNECTED
    return WEAK if "CML entries pending" in listed else CONNECTED
