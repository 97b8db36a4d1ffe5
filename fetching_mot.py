# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The one place that opens connections: the bytes behind an http(s) URL, within a number of bytes and of seconds.

Where the URL comes from somebody else, only public addresses are connected to: every name, also that of a redirect, is
looked up once, and the connection goes to the address that was checked, so that no second answer of a name server can
lead elsewhere.
"""

import contextlib
import functools
import http.client
import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

URL_PREFIXES = ("http://", "https://")
WAIT_SECONDS = 30  # for any one answer of a server
BLOCK_BYTES = 2**16
IPV4_IN_IPV6 = ipaddress.ip_network("64:ff9b::/96")  # Gateways (NAT64) pass it on to IPv4.


def is_url(source: object) -> bool:
    return isinstance(source, str) and source[:8].lower().startswith(URL_PREFIXES)


def shown_url(url: str) -> str:
    """A URL as messages show it: without what may be secret, its query and a name and password."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:80]


def fetch(url: str, max_bytes: float, max_seconds: float, public_only: bool = False) -> bytes:
    """
    What an http(s) URL leads to, also by redirects.

    Args:
        max_bytes, max_seconds: of the content, and from the first connection to the last byte.
        public_only: whether to refuse addresses of this machine and of private networks; a proxy is then not used.

    Raises:
        OSError: saying what went wrong, without the URL.
    """
    watch = Watch(max_seconds)
    try:
        with watch, open_url(url, watch, public_only) as response:
            content = read_at_most(response, max_bytes)
        watch.check()
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: no host, or none that can be one
        watch.check()
        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
            error = error.reason
        raise OSError(str(error) or type(error).__name__) from None
    return content


def open_url(url: str, watch: "Watch", public_only: bool) -> http.client.HTTPResponse:
    if "@" in urllib.parse.urlsplit(url).netloc:
        raise OSError("URLs with a user name or a password are not read")
    opener = urllib.request.OpenerDirector()
    if not public_only:
        opener.add_handler(urllib.request.ProxyHandler())
    for handler in (
        WatchedHandler(watch, public_only),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),  # a redirect to anything but http(s) is an error
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "mot-processor"})  # noqa: S310 (the opener has http and https alone)
    return opener.open(request, timeout=WAIT_SECONDS)


def read_at_most(response: http.client.HTTPResponse, max_bytes: float) -> bytes:
    content = bytearray()
    while block := response.read(BLOCK_BYTES):
        content += block
        if len(content) > max_bytes:
            raise OSError(f"it has more than {max_bytes:,} bytes (`limits.max_url_bytes`)")
    return bytes(content)


class Watch:
    """
    Shuts the connections of a fetch when its time is over. The time-outs of sockets count from each byte that arrives,
    and a server that sends one now and then would hold its visitor for ever.
    """

    def __init__(self, seconds: float):
        self.seconds, self.end = seconds, time.monotonic() + seconds
        self.sockets: list[socket.socket] = []
        self.timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self.shut)
        self.timer.daemon = True

    def __enter__(self) -> "Watch":
        self.timer.start()
        return self

    def __exit__(self, *error) -> None:
        self.timer.cancel()

    def add(self, connection: socket.socket) -> None:
        self.sockets.append(connection)
        self.check()

    def shut(self) -> None:
        for connection in self.sockets:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def remaining(self) -> float:
        self.check()
        return min(WAIT_SECONDS, self.end - time.monotonic())

    def check(self) -> None:
        if time.monotonic() >= self.end:
            raise OSError(f"it takes longer than {self.seconds:g} seconds (`limits.max_url_seconds`)")


class WatchedHandler(urllib.request.AbstractHTTPHandler):
    """Opens http and https by connections that are watched."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, watch: Watch, public_only: bool):
        super().__init__()
        self.options = {"watch": watch, "public_only": public_only}

    def http_open(self, request):
        return self.do_open(functools.partial(WatchedConnection, **self.options), request)

    def https_open(self, request):
        return self.do_open(functools.partial(WatchedTLSConnection, **self.options), request)


class WatchedConnection(http.client.HTTPConnection):
    def __init__(self, host: str, *, watch: Watch, public_only: bool, **options):
        super().__init__(host, **options)
        self.watch, self.public_only = watch, public_only
        self._create_connection = functools.partial(connect, watch=watch, public_only=public_only)

    def connect(self) -> None:
        super().connect()
        if self.public_only:  # once more, should another Python no longer connect by `_create_connection`
            refuse_private([self.sock.getpeername()[0]])
        self.watch.add(self.sock)


class WatchedTLSConnection(WatchedConnection, http.client.HTTPSConnection):
    """The certificate is that of the host's name, whichever address was connected to."""


def connect(
    address: tuple[str, int], timeout: float, source_address=None, *, watch: Watch, public_only: bool
) -> socket.socket:
    """As `socket.create_connection`, to an address that was checked."""
    host, port = address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if public_only:
        refuse_private([entry[4][0] for entry in found])
    failure = OSError("its host has no address")
    for family, kind, protocol, _, place in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(min(timeout, watch.remaining()))
            connection.connect(place)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def refuse_private(addresses: list[str]) -> None:
    if not all(map(is_public, addresses)):
        raise OSError("its host is on this machine or in a private network, where URLs of others are not followed")


def is_public(address: str) -> bool:
    """Whether an IP address is anybody's: not loopback, private, link-local, shared, multicast or reserved."""
    place = ipaddress.ip_address(address)
    if place.version == 6:
        inner = place.ipv4_mapped or place.sixtofour or (place.teredo or (None, None))[1]
        if place in IPV4_IN_IPV6:
            inner = ipaddress.IPv4Address(int(place) & 0xFFFFFFFF)
        place = inner or place
    return place.is_global and not (place.is_multicast or place.is_reserved)
