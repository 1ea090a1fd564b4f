"""Import asyncio and pyroute2 without what a DHCP client never does.

Together they import three hundred modules, on the longest branch of the boot: test tools,
TLS, processes, all of netlink. `load` is called before netup.effort is imported; without
it, all works the same and takes longer.
"""

import gc
import importlib
import importlib.util
import sys
import types

LEFT_OUT = (
    "hmac", "subprocess", "textwrap", "tokenize", "unittest",
    "pyroute2.iproute.linux", "pyroute2.netlink.exceptions", "pyroute2.netlink.rtnl")


class LeftOut(type):
    """A class that has every name, as classes of this kind. An instance has none: its use fails."""

    def __new__(cls, name):
        return super().__new__(cls, name, (), {"__init__": lambda self, *args, **words: None})

    def __init__(cls, name):
        super().__init__(name, (), {})

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return LeftOut(name)


def load():
    """Import them, leave the rest out, and let the rest be imported as ever afterwards."""
    left_out = {name: LeftOut(name) for name in LEFT_OUT}
    left_out["ssl"] = None  # what asyncio is prepared for
    # pyroute2/__init__ loads every netlink family there is (its issue 1404).
    left_out["pyroute2"] = package = types.ModuleType("pyroute2")
    package.__spec__ = importlib.util.find_spec("pyroute2")
    package.__path__ = list(package.__spec__.submodule_search_locations)
    left_out = {name: module for name, module in left_out.items() if name not in sys.modules}
    sys.modules.update(left_out)
    gc.disable()  # nothing of this will be garbage
    try:
        for name in ("asyncio", "pyroute2.dhcp.client"):
            importlib.import_module(name)
    finally:
        gc.enable()
        left_out.pop("pyroute2", None)
        for name in left_out:
            del sys.modules[name]
