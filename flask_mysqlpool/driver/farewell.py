"""Why a server closed a connection, where it said so before."""

from __future__ import annotations

import socket

from pymysql.constants import ER

LONGEST_TEXT = 200  # characters of a server's message that are shown

# Answers to a statement after which a server closes the connection (MySQL Server Error
# Message Reference, MariaDB Error Codes).
ENDINGS = {
    ER.SERVER_SHUTDOWN,
    ER.NET_PACKET_TOO_LARGE,
    1835,  # ER_MALFORMED_PACKET
    1927,  # ER_CONNECTION_KILLED, of MariaDB
    4031,  # ER_CLIENT_INTERACTION_TIMEOUT, of MySQL
}


def farewell(packet: bytes) -> str:
    """Return the number and text of an ERR packet (MySQL client/server protocol,
    ERR_Packet); empty where it is another.
    """
    if len(packet) < 3 or packet[0] != 0xFF:
        return ""
    text = packet[9:] if packet[3:4] == b"#" else packet[3:]
    code = int.from_bytes(packet[1:3], "little")
    return f"{code} {text.decode('utf-8', 'replace')[:LONGEST_TEXT]}"


def unread_farewell(sock: socket.socket) -> str:
    """Return the same of what has arrived at a socket that can be written to no more.
    A server that refuses a packet says so, and closes while it is still being sent.
    """
    try:
        sock.settimeout(0)
        return farewell(sock.recv(4096)[4:])
    except (OSError, ValueError):
        return ""
