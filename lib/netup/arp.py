"""Is an IPv4 address in use on a link? Asked before an old lease is used again (RFC 5227)."""

import asyncio
import socket

PROBES, APART = 3, 0.4


def probe(mac, address):
    """An ARP probe frame: who has `address`, from nobody."""
    own = bytes.fromhex(mac.replace(":", ""))
    return (b"\xff" * 6 + own + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" + own + bytes(4)
            + bytes(6) + socket.inet_aton(address))


def claims(frame, mac, address):
    """Whether an ARP frame shows that a machine other than `mac` has `address`."""
    own = bytes.fromhex(mac.replace(":", ""))
    return (len(frame) >= 42 and frame[12:20] == b"\x08\x06\x00\x01\x08\x00\x06\x04"
            and frame[28:32] == socket.inet_aton(address) and frame[22:28] != own)


async def in_use(link, mac, address):
    """Whether a machine on `link` answers for `address`. Takes 1.2 s. Raises OSError.

    Shorter than RFC 5227's probing of some 5 s: the address was ours, and the boot waits.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
        raw.setblocking(False)
        raw.bind((link, 0x0806))
        for _ in range(PROBES):
            await loop.sock_sendall(raw, probe(mac, address))
            try:
                async with asyncio.timeout(APART):
                    while not claims(await loop.sock_recv(raw, 256), mac, address):
                        pass
                    return True
            except TimeoutError:
                pass
    return False
