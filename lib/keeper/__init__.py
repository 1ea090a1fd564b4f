"""A process that stays: apart from init, out of the way, and able to write after the handoff."""

import contextlib
import ctypes
import fcntl
import os
import signal

from codaboot import cli, wait

LIBC = ctypes.CDLL(None)
SET_NAME = 15  # linux/prctl.h


class Place:
    """A file to write, by its directory, held open.

    The file system below /run moves to the new root, and this process does not: after the
    handoff its own /run is an empty directory, but what was opened before is still right.
    """

    def __init__(self, path):
        """Raises OSError when the directory cannot be made or opened."""
        self.path = os.path.abspath(path)
        folder, self.name = os.path.split(self.path)
        os.makedirs(folder, exist_ok=True)
        self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.text = None

    def open(self, flags, mode=0o644):
        return os.open(self.name, flags | os.O_CLOEXEC, mode, dir_fd=self.folder)

    def write(self, text):
        """Replace the file at once and whole. Raises OSError."""
        if text == self.text:
            return
        made = f".{self.name}.new"
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644,
                             dir_fd=self.folder)
        with open(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.rename(made, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self.text = text


def close_all(keep):
    """Close every descriptor from 3 on but those in `keep`."""
    last = 3
    for descriptor in sorted(keep):
        os.closerange(last, descriptor)
        last = descriptor + 1
    os.closerange(last, os.sysconf("SC_OPEN_MAX"))


def lock(place, create=os.O_CREAT):
    """Open the pid file and lock it: a descriptor, or None when a keeper holds it. Raises OSError.

    A lock ends with its process, so that no pid in the file has to be believed.
    """
    descriptor = place.open(os.O_RDWR | create)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def end(place):
    """End the keeper that holds the pid file. Raises OSError, and Failure when it goes on."""
    with open(place.open(os.O_RDONLY)) as file:
        pid = int(file.readline())
    ending = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(ending, signal.SIGTERM)
        if not wait.ready([ending], wait.Deadline(5)):
            raise cli.Failure(f"cannot end the keeper {pid}: it does not react to SIGTERM")
    finally:
        os.close(ending)


def stay(title, log, pid_file):
    """Make this process a keeper: its standard streams, its name, its weight for the OOM killer.

    A '@' before the title asks the new root's init to spare it at shutdown, see
    systemd's "Storage Daemons for the Root File System".
    """
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    out = log.open(os.O_WRONLY | os.O_CREAT | os.O_APPEND) if log else null
    for descriptor, source in ((0, null), (1, out), (2, out)):
        os.dup2(source, descriptor)
    for source in {null, out}:
        os.close(source)
    os.ftruncate(pid_file, 0)
    os.pwrite(pid_file, f"{os.getpid()}\n".encode(), 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000\n")
    with contextlib.suppress(OSError, ValueError):
        _entitle(title.encode())


def _entitle(title):
    """Show `title` as this process's arguments, in the memory that holds them (proc_pid_stat(5))."""
    LIBC.prctl(SET_NAME, title.lstrip(b"@"), 0, 0, 0)
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # The first field after the name is number 3; arg_start and arg_end are 48 and 49.
    start, end = int(fields[45]), int(fields[46])
    if start and end - start > len(title):  # else: nowhere to put it
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)


def detach(work):
    """Run `work(report)` in a process of its own session; return the status it reports.

    The parent comes back when `report(status)` is called, or when the child ends. The child
    ends with the parent until it has reported.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        close_all({write})

        def report(status):
            os.write(write, bytes([status]))
            os.close(write)

        cli.run(lambda: work(report))
    os.close(write)
    try:
        said = os.read(read, 1)
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if said:
        return said[0]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status
