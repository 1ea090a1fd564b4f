"""The words of venus's tools, which exit 0 whatever happened."""

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
