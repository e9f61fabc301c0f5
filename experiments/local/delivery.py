"""Answers that go wrong on their way, on purpose."""

import asyncio
import socket
import struct
from typing import Literal, NamedTuple

_PIECES = 10


class Spoilt(NamedTuple):
    """How an answer goes wrong; `delay_s` is how long a slow body takes."""

    how: Literal["reset", "slow_body", "cut_body", "closed_keep_alive", "wrong_bytes"]
    delay_s: float = 0.0


async def deliver(transport: asyncio.Transport, head: bytes, body: bytes, spoilt: Spoilt) -> bool:
    """Send an answer in the way that is asked for; return whether the connection can go on."""
    match spoilt.how:
        case "reset":
            # Closing then sends RST at once, and no FIN.
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            transport.abort()
        case "slow_body":
            transport.write(head)
            size = -(-len(body) // _PIECES) or 1
            for start in range(0, len(body), size):
                await asyncio.sleep(spoilt.delay_s * min(size, len(body) - start) / len(body))
                transport.write(body[start : start + size])
        case "cut_body":
            transport.write(head + body[: len(body) // 2])
        case "closed_keep_alive":
            transport.write(head + body)
        case "wrong_bytes":
            transport.write(b"\x16\x03\x03 this is not HTTP\r\n\r\n")
    return spoilt.how == "slow_body"
