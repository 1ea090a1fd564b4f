"""What the real venus keeps from one boot to the next: the cache, and its records in RVM.

Changes that no server has yet are in both, so nothing here removes anything.
"""

import os

from codaboot import cli

from realvenus import conf

# Where venus looks by itself; see venus.conf(5).
DEFAULTS = {"cachedir": "/usr/coda/venus.cache", "rvm_log": "/usr/coda/LOG", "rvm_data": "/usr/coda/DATA",
            "checkpointdir": "/usr/coda/spool", "cachesize": "100MB"}
NEW, BEGUN, WHOLE, DAMAGED = range(4)
# In a cache directory without being a part of the cache.
STRANGERS = {"INIT", "CACHEDIR.TAG", "lost+found"}
# What venus says of its records before it ends, or, at the last, sleeps for ever.
COMPLAINTS = ("Recov_InitRVM:", "Recov_InitRDS:", "Recov_LoadRDS:", "RVM_INIT failed", "rvm_load_segment")
CRASHED = "becoming a zombie"
MOUNTING = "Mounting root volume"


class Damaged(cli.Failure):
    """The records cannot be used. They may hold changes that no server has."""

    code = 5


# --- deciding: no input, no output ------------------------------------

def judge(log, data, names):
    """(state, what is wrong), from the sizes of log and data (None: not there) and the names in the cache."""
    if "INIT" in names:
        return BEGUN, ""
    if log and data:
        return WHOLE, ""
    if log is None and data is None and not set(names) - STRANGERS:
        return NEW, ""
    wrong = [f"the {what} is {'not there' if bytes_ is None else 'empty'}"
             for what, bytes_ in (("log", log), ("data", data)) if not bytes_]
    return DAMAGED, " and ".join(wrong)


def complaint(said):
    """The line of what a failed venus `said` that speaks of damaged records, or None."""
    for line in said.splitlines():
        if any(words in line for words in COMPLAINTS):
            return line.strip()
    # A crash counts while venus reads its records: after their sizes, before the mount.
    reading = said.partition(" size is ")[2]
    if CRASHED in reading and MOUNTING not in reading:
        return next(line.strip() for line in reading.splitlines() if CRASHED in line)
    return None


# --- touching the system ----------------------------------------------

class Store:
    """The places named in the text of a venus.conf."""

    def __init__(self, text):
        given = {**DEFAULTS, **conf.parse(text)}
        self.cache, self.spool = given["cachedir"], given["checkpointdir"]
        self.log, self.data = given["rvm_log"], given["rvm_data"]
        self.room = conf.room(conf.size(given["cachesize"]) or 0)

    def look(self):
        """(state, what is wrong) of what is there now. Raises UsageError for records on a raw partition."""
        def size(path):
            if os.path.exists(path) and not os.path.isfile(path):
                raise cli.UsageError(f"cannot look after venus's records in '{path}': it is no file",
                                     "without --config venus is left to itself")
            return os.path.getsize(path) if os.path.exists(path) else None

        names = os.listdir(self.cache) if os.path.isdir(self.cache) else ()
        return judge(size(self.log), size(self.data), names)

    def prepare(self):
        """At a first start, have venus make cache and records; it takes INIT away when it has.

        Raises Damaged, and Failure without room: venus itself would not notice before it is too late.
        """
        state, what = self.look()
        if state == DAMAGED:
            raise self.damaged(what)
        if state != NEW:
            return
        if not self.fits():
            raise cli.Failure(f"cannot make the cache '{self.cache}': venus may need {self.room >> 20} MiB, "
                              "and they are not free", "a smaller cachesize, or a larger disk")
        for folder, mode in ((self.cache, 0o700), (self.spool, 0o755)):
            os.makedirs(folder, mode, exist_ok=True)
        with open(f"{self.cache}/INIT", "w"):
            pass

    def damaged(self, what):
        return Damaged(f"cannot use venus's records: {what}",
                       f"changes that no server has may be in them: copy away {self.log}, {self.data} and "
                       f"{self.cache}; --on-damage=renew then starts anew")

    def fits(self):
        """Whether there is room for a new cache with its records, where the cache is or would be."""
        folder = self.cache
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize >= self.room

    def put_aside(self):
        """Give cache and records other names, where they are; the number in them."""
        paths, number = [path for path in (self.log, self.data, self.cache) if os.path.lexists(path)], 1
        while any(os.path.lexists(f"{path}.damaged.{number}") for path in paths):
            number += 1
        for path in paths:
            os.rename(path, f"{path}.damaged.{number}")
        return number
