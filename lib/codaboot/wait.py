"""Waiting for things to happen: on events, with one deadline, never in a sleep loop."""

import os
import select
import time

from codaboot import cli


class Deadline:
    """A moment on the monotonic clock, `seconds` from now (None: never)."""

    def __init__(self, seconds):
        self.end = None if seconds is None else time.monotonic() + seconds

    def left(self):
        """Seconds that are left, never below 0; None when there is no end."""
        return None if self.end is None else max(0.0, self.end - time.monotonic())

    def over(self):
        return self.end is not None and time.monotonic() >= self.end


def ready(fds, deadline, events=select.POLLIN):
    """Wait until one of `fds` has one of `events`; the list of those, empty when time is up."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, events)
    left = deadline.left()
    return [fd for fd, _ in poll.poll(None if left is None else left * 1000)]


def mounts_changed(mountinfo, deadline):
    """Wait for a change of the mount table; False when time is up.

    `mountinfo` is /proc/self/mountinfo, open *before* the state was looked at: the kernel
    flags a change by POLLERR|POLLPRI, once for each open file (proc_pid_mountinfo(5)).
    """
    return bool(ready([mountinfo], deadline, select.POLLPRI))


def child(pid, deadline, what):
    """Wait for a child to end: its exit status, -n for signal n. Raises TimedOut."""
    pidfd = os.pidfd_open(pid)
    try:
        if not ready([pidfd], deadline):
            raise cli.TimedOut(f"cannot wait any longer for {what}: the time is up")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(pidfd)
