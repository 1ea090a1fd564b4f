"""Import asyncio and pyroute2's DHCP client without what they name and never use here.

Together they import three hundred modules, on the longest branch of the boot: tools to look
at code, threads' futures, TLS, all of netlink, logging. `load` is called before netup.effort is
imported; without it, all works the same, takes longer, and pyroute2's log is heard.
"""

import gc
import importlib
import importlib.util
import sys
import types

LEFT_OUT = (
    "asyncio.sslproto", "asyncio.staggered", "base64", "concurrent", "concurrent.futures", "hmac", "inspect",
    "linecache", "pathlib", "subprocess", "traceback",
    "pyroute2.iproute.linux", "pyroute2.netlink.exceptions", "pyroute2.netlink.rtnl")


class Nothing(type):
    """A class that has every name, as classes of this kind. An instance has none: its use fails."""

    def __new__(cls, name):
        return super().__new__(cls, name, (), {"__init__": lambda self, *args, **words: None})

    def __init__(cls, name):
        super().__init__(name, (), {})

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name)


class LeftOut(types.ModuleType):
    """A module that holds Nothing while others import it, and everything when it is used later."""

    def __getattr__(self, name):
        if sys.modules.get(self.__name__) is not self:
            return getattr(importlib.import_module(self.__name__), name)
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name)


class Silence:
    """A logger: what there is to tell is told by us, once and in our form."""

    def __getattr__(self, name):
        return lambda *args, **words: None


def load():
    """Import them, leave the rest out, and let the rest be imported as ever afterwards."""
    left_out = {name: LeftOut(name) for name in LEFT_OUT}
    left_out["ssl"] = None  # what asyncio is prepared for
    left_out["logging"] = types.SimpleNamespace(getLogger=lambda name: Silence(), DEBUG=10)
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
