"""pyroute2's DHCP client, made to stand what the wire brings.

Import this module only where pyroute2 is really needed: the first import of it here takes
longer than all the rest of coda-netup.
"""

import asyncio
import contextlib
import errno
import random
import socket
import struct
import time

from pyroute2.dhcp import client as dhcp
from pyroute2.dhcp import fsm, leases
from pyroute2.dhcp.dhcp4msg import dhcp4msg
from pyroute2.dhcp.dhcp4socket import AsyncDHCP4Socket
from pyroute2.dhcp.hooks import Hook, Trigger
from pyroute2.dhcp.messages import ReceivedDHCPMessage
from pyroute2.ext import bpf

from netup import links, values, wire

ALL_PROTOCOLS, ATTACH_FILTER = 3, 26  # linux/if_ether.h, asm-generic/socket.h

# The time of day may jump while a lease runs: the client must not measure by it.
dhcp.time = time.monotonic


class Lease(leases.Lease):
    """A lease in pyroute2's sense; it is written by us, not into the working directory."""

    @property
    def settings(self):
        return self.ack["options"]["settings"]

    def dump(self):
        pass

    @classmethod
    def load(cls, interface):
        return None

    # Just granted, when these are asked for; None is never.
    @property
    def expiration_in(self):
        return None if self.settings.lease_time == wire.FOREVER else float(self.settings.lease_time)

    @property
    def renewal_in(self):
        return self.expiration_in and float(self.settings.t1)

    @property
    def rebinding_in(self):
        return self.expiration_in and float(self.settings.t2)

    @property
    def expired(self):
        return False


class Socket(AsyncDHCP4Socket):
    """The client's socket; survives damaged frames, and a link that goes down and up again."""

    def __init__(self, ifname, identifier, heard):
        super().__init__(ifname)
        self.identifier, self.heard = identifier, heard
        self.sent, self.mac = 0, ""

    @property
    def l2addr(self):
        """The hardware address that the link has now; of a link that is gone, the last one.

        pyroute2 asks by netlink for all there is to know of all links, and listens for changes.
        """
        with contextlib.suppress(OSError):
            _, self.mac = links.hardware(self.ifname)
        return self.mac

    async def __aenter__(self):
        socket.socket.__init__(self, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self.setblocking(False)
        self.bind((self.ifname, ALL_PROTOCOLS))
        self.clear_buffer()  # of what came before the filter
        address, self.fprog = bpf.compile(self.bpf)
        self.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, address)
        return self

    async def __aexit__(self, *_):
        self.close()

    async def put(self, msg):
        if self.identifier:
            msg.dhcp["options"]["client_id"] = {"type": self.identifier[0], "key": self.identifier[1:]}
        try:
            await super().put(msg)
            self.sent += 1
        except OSError as error:
            # It is sent again later anyway, and the link may be back by then.
            if error.errno not in (errno.ENETDOWN, errno.ENOBUFS, errno.ENXIO, errno.ENODEV, errno.EAGAIN):
                raise
        return msg

    async def get(self):
        while True:
            try:
                frame = await self.loop.sock_recv(self, 4096)
            except OSError as error:
                if error.errno not in (errno.ENETDOWN, errno.ENXIO, errno.ENODEV):
                    raise
                # The kernel says so once, then the socket is quiet until the link is back.
                await asyncio.sleep(1)
                continue
            packet = wire.parse_frame(frame)
            if packet and packet.mac == self.l2addr and (message := self.message(packet)):
                return message

    def message(self, packet):
        """The packet in pyroute2's form, or None when it is not to be used."""
        kind, options = packet.options[wire.MESSAGE_TYPE][0], {}
        if kind not in (wire.OFFER, wire.ACK, wire.NAK):
            return None
        if kind != wire.NAK:
            try:
                settings, refused = wire.settings(packet)
            except values.Refused as error:
                self.heard(packet, None, [str(error)])
                return None
            self.heard(packet, settings, refused)
            options = {"server_id": settings.server, "lease_time": settings.lease_time, "settings": settings}
        content = dhcp4msg({"xid": packet.xid, "yiaddr": packet.address,
                            "options": {"message_type": dhcp.dhcp.MessageType(kind), **options}})
        return ReceivedDHCPMessage(dhcp=content, eth_src=packet.server_mac, ip_src=packet.server_address)


def eager():
    """Seconds between the sendings of one message, at boot: 1, 2, 4, then 8, a quarter more or less.

    RFC 2131 4.1 says 4, 8, 16 ...; but a frame that is lost right after the carrier came is
    what usually happens, and a boot does not want to wait 4 seconds for it.
    """
    return _doubling(1.0, 8.0)


def patient():
    """The same for a machine that runs: from 4 to 64 seconds."""
    return _doubling(4.0, 64.0)


def _doubling(delay, most):
    while True:
        yield delay * random.uniform(0.75, 1.25)
        delay = min(delay * 2, most)


class Client(dhcp.AsyncDHCPClient):
    """DHCP on one link. `events` is a queue of (what happened, Lease)."""

    def __init__(self, link, hostname="", identifier=b""):
        self.events = asyncio.Queue()
        self.offers, self.refusals, self.named = [], [], set()

        def hook(trigger):
            async def happened(lease):
                self.events.put_nowait((trigger, lease))
            return Hook(happened, {trigger})

        super().__init__(dhcp.ClientConfig(
            interface=link, lease_type=Lease, hooks=[hook(trigger) for trigger in Trigger],
            requested_parameters=wire.ASKED, timeouts={fsm.State.REQUESTING: 8},
            retransmission=eager, release=False, handle_signals=False,
            vendor_id="coda-boot", host_name=hostname or None))
        self._sock = Socket(link, identifier, self.heard)

    def heard(self, packet, settings, refused):
        """Called for each offer and acknowledgement; each refusal is told once."""
        if settings:
            self.offers.append((settings.address, settings.server))
            del self.offers[:-4]
        for text in refused:
            if text not in self.named:
                self.named.add(text)
                self.refusals.append(f"refused {text}, from the DHCP server {packet.server_address}")

    async def _process_msg(self, msg):
        # No packet may end the client.
        with contextlib.suppress(KeyError, ValueError, TypeError, struct.error):
            await super()._process_msg(msg)

    def how_far(self):
        """What DHCP on this link came to, in words."""
        if self.offers:
            return "an offer of {} from {}, but no acknowledgement".format(*self.offers[-1])
        if self.refusals:
            return self.refusals[-1]
        return f"{self._sock.sent} requests sent, no answer"

    async def start(self):
        """Open the socket and send the first request. Raises OSError."""
        await self.__aenter__()
        await self.bootstrap()

    async def got(self):
        """Wait for the first lease. From then on the client takes its time."""
        while True:
            trigger, lease = await self.events.get()
            if trigger == Trigger.BOUND:
                self.config.retransmission = patient
                return lease

    async def stop(self):
        """End the client and its socket; a lease is not given back."""
        if self._sender_task:
            with contextlib.suppress(OSError):
                await self.__aexit__()
