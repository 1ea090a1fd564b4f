"""The mariner socket: lines of text, on which venus says what it does and answers questions.

Its name stands in venus.conf (marinersocket). Everybody may connect; venus takes 25 at a time.
"""

import os
import socket

import keeper
from codaboot import cli, wait

NO_VENUS = 4


def connect(path):
    """A Mariner for the socket `path`. Raises Failure."""
    try:
        return Mariner(keeper.Place(path))
    except OSError as error:
        raise cli.Failure(f"cannot ask venus on '{path}': {error.strerror}", code=NO_VENUS) from None


class Mariner:
    """A connection to venus. As long as that venus lives, it stays."""

    def __init__(self, place):
        """Connect to the keeper.Place of the socket. Raises OSError."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.rest = b""
        try:
            # By its directory: there is room for 107 characters only, and /run may have moved.
            os.fchdir(place.folder)
            self.socket.connect(place.name)
        except OSError:
            self.socket.close()
            raise
        finally:
            os.chdir("/")

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def say(self, *commands):
        """Give venus commands: "set:fetch", "fidstat FID@REALM". Raises OSError."""
        self.socket.sendall("".join(f"{command}\n" for command in commands).encode())

    def lines(self):
        """The whole lines that have come; waits for the first byte. None when venus ended."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def until(self, deadline, ends):
        """The lines up to the one that `ends` says is the last, or to the deadline, or to venus's end."""
        found = []
        while wait.ready([self.socket], deadline):
            lines = self.lines()
            if lines is None:
                break
            found += lines
            if any(map(ends, lines)):
                break
        return found
