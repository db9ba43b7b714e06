"""What a request must look like before anything is done with it.

aiohttp's parser refuses what is malformed; here is refused what is well-formed and yet could be
read in two ways.
"""

from aiohttp import web

from paastis.hosts import BadHost, parse_host
from paastis.reasons import Reason
from proxy import headers
from proxy.refused import Refused


def checked_target(request: web.BaseRequest) -> str:
    """The request target in origin form, byte for byte. Raises `Refused`."""
    if request.method == "CONNECT":
        raise Refused(405, None, text="CONNECT is not possible here.")
    target = request.raw_path
    if not target.startswith("/"):
        # Absolute form is fine if it says what Host says (RFC 9112, section 3.2.2).
        scheme, colon, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        named = request.headers.get("Host", "")
        if not colon or scheme.lower() not in ("http", "https"):
            raise Refused(400, None, text="The request target is not a path.")
        if authority.lower() != named.lower():
            raise Refused(400, Reason.BAD_HOST)
        target = slash + path or "/"
    if "#" in target:
        raise Refused(400, None, text="The request target has a fragment.")
    try:
        target.encode()
    except UnicodeEncodeError:
        raise Refused(400, None, text="The request target is not UTF-8.") from None
    return target


def checked_host(request: web.BaseRequest) -> str:
    """The one host that the request names, in its normal form. Raises `Refused`."""
    hosts = request.headers.getall("Host", ())
    if len(hosts) != 1:
        raise Refused(400, Reason.BAD_HOST)
    encodings = request.headers.getall("Transfer-Encoding", ())
    chunked = [value.strip().lower() for value in encodings] == ["chunked"]
    if encodings and (not chunked or request.version < (1, 1)):
        raise Refused(400, None, text="This transfer encoding is not possible here.")
    if encodings and "Content-Length" in request.headers:
        raise Refused(400, None, text="The length of the body is given twice.")
    try:
        return parse_host(hosts[0])
    except BadHost:
        raise Refused(400, Reason.BAD_HOST) from None


def wants_websocket(request: web.BaseRequest) -> bool:
    """Whether the visitor asks for a WebSocket; other upgrades are not offered (RFC 6455, 4.1)."""
    return (
        request.method == "GET"
        and request.version >= (1, 1)
        and request.headers.get("Upgrade", "").strip().lower() == "websocket"
        and "upgrade" in headers.named_by_connection(request.headers.items())
    )
