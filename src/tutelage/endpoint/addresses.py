"""Addresses: which are this machine's own, and how to listen on one."""

import ipaddress
import socket
from urllib.parse import urlsplit

from tutelage.errors import TutelageError


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_local(url: str) -> bool:
    """Whether `url` is on this machine: no web proxy is asked for that."""
    return is_loopback(urlsplit(url).hostname or "")


def in_url(host: str) -> str:
    """`host` as a URL writes it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `port` of `host`, 0 for a free one. Raises TutelageError where it cannot be."""
    # The protocol is named, or asyncio leaves out TCP_NODELAY: 40 ms a page.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, proto=socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise TutelageError(
            f"Port {port} of {host} cannot be used: {error.strerror}. Name another with --port, or 0 for a free one."
        ) from None
    return listening
