"""What the kernel tells of changes to nftables, heard on a netlink socket: it sends a message when a change holds."""

import ipaddress
import socket
import struct
import time
from collections.abc import Iterator

NETLINK_NETFILTER = 12
GROUP_NFTABLES = 1 << (7 - 1)
SUBSYSTEM_NFTABLES = 10
ADDED, DELETED = 12, 14  # NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
SO_RCVBUFFORCE = 33


class Monitor:
    """Hears of elements that come to sets and go, in the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        # Messages that don't fit would be lost, and an error be told.
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        self.socket.bind((0, GROUP_NFTABLES))

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def hear(self, timeout: float) -> bytes:
        """Some messages; none where nothing came in time."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1 << 20)
        except TimeoutError:
            return b""

    def wait(self, kind: int, address: str, seconds: float = 10) -> float:
        """Waits until the address is added to a set or deleted, and gives the time (`time.monotonic`)."""
        until, packed = time.monotonic() + seconds, ipaddress.ip_address(address).packed
        while (left := until - time.monotonic()) > 0:
            if any(packed in message for message in messages(self.hear(left), kind)):
                return time.monotonic()
        raise TimeoutError(f"not within {seconds} s: {address}")

    def wait_for_many(self, many: int, seconds: float) -> tuple[float, float]:
        """Waits until so many elements were added, and gives the times of the first and of the last."""
        until, heard, added, times = time.monotonic() + seconds, [], 0, []
        while added < many:
            if time.monotonic() > until:
                raise TimeoutError(f"not within {seconds} s: {many} elements, only {added}")
            if data := self.hear(0.2):
                heard.append((time.monotonic(), data))
                continue
            # It is quiet: only now are messages read, so as to take no time from those who send them.
            for moment, data in heard:
                new = sum(1 for message in messages(data, ADDED))
                times += [moment] * bool(new)
                added += new
            heard.clear()
        return times[0], times[-1]


def messages(data: bytes, kind: int) -> Iterator[bytes]:
    """The messages of a kind. Linux sends one for each element."""
    at = 0
    while at + 16 <= len(data):
        length, found = struct.unpack_from("=IH", data, at)
        if found == SUBSYSTEM_NFTABLES << 8 | kind:
            yield data[at:at + length]
        at += (length + 3) & ~3
