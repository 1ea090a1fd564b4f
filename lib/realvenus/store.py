"""What the real venus keeps from one boot to the next: the cache, and its records in RVM.

Changes that no server has yet are in both, so nothing here removes anything.
"""

import os

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
        """(state, what is wrong) of what is there now."""
        def size(path):
            return os.path.getsize(path) if os.path.exists(path) else None

        names = os.listdir(self.cache) if os.path.isdir(self.cache) else ()
        return judge(size(self.log), size(self.data), names)

    def begin(self):
        """Have venus make cache and records anew at its next start; it takes INIT away when it has."""
        for folder, mode in ((self.cache, 0o700), (self.spool, 0o755)):
            os.makedirs(folder, mode, exist_ok=True)
        with open(f"{self.cache}/INIT", "w"):
            pass

    def free(self):
        """Bytes that are free where the cache is, or would be."""
        folder = self.cache
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        room = os.statvfs(folder)
        return room.f_bavail * room.f_frsize

    def put_aside(self):
        """Move cache and records into a directory of their own beside the cache; its path."""
        beside, number = os.path.dirname(self.cache), 1
        while os.path.exists(f"{beside}/damaged.{number}"):
            number += 1
        kept = f"{beside}/damaged.{number}"
        os.mkdir(kept, 0o700)
        for path in (self.cache, self.log, self.data):
            if os.path.lexists(path):
                os.rename(path, f"{kept}/{os.path.basename(path)}")
        return kept
