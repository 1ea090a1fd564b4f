"""Waiting for links and IPv6: what happens in the kernel wakes those who then look again."""

import asyncio
import struct

from netup import links, wire

NEW_ND_USER_OPTION = 68  # RTM_NEWNDUSEROPT, linux/rtnetlink.h


class Watch:
    """Wakes on every change of a link or an IPv6 address, and keeps what routers advertise.

    `advertised` is {link index: (name servers, search list)}.
    """

    def __init__(self):
        self.socket, self.waiters, self.advertised = links.watch(), set(), {}
        asyncio.get_running_loop().add_reader(self.socket, self._readable)

    async def until(self, condition):
        """Wait until `condition()` is true, and return what it returned."""
        # Nothing is lost between the look and the wait: events queue in the socket.
        while not (result := condition()):
            await self.change()
        return result

    def change(self):
        """A future that is done at the next change."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        return waiter

    def _readable(self):
        while True:
            try:
                self._note(self.socket.recv(65536))
            except BlockingIOError:
                break
            except OSError:
                # ENOBUFS: some events were lost, but everybody looks for himself.
                continue
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    def _note(self, data):
        """Take name servers from netlink messages (struct nduseroptmsg, linux/rtnetlink.h)."""
        while len(data) >= 16:
            size, kind = struct.unpack_from("=IH", data)
            if kind == NEW_ND_USER_OPTION and len(data) >= 32:
                length, index = struct.unpack_from("=Hi", data, 18)
                new = wire.router_options(data[32:32 + length])
                old = self.advertised.get(index, ((), ()))
                self.advertised[index] = tuple(tuple(dict.fromkeys(old[i] + new[i])) for i in (0, 1))
            data = data[max((size + 3) & ~3, 16):]

    def close(self):
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()
