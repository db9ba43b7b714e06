"""What kind of request it is: use or not, a navigation or not, may it wake. Pure."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from paastis.policy import IgnoreAccess, WakeBy

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

AUTOMATIC_CLIENTS = (
    # health checkers and uptime monitors
    r"ELB-HealthChecker|GoogleHC/|kube-probe/|Consul Health Check|HealthCheck|Health-Check",
    r"UptimeRobot|Pingdom|StatusCake|Better ?Stack|Better Uptime|Site24x7|updown\.io|Uptime-Kuma",
    r"NodePing|Checkly|DatadogSynthetics|NewRelicSynthetics|HetrixTools|Freshping|Zabbix|check_http",
    r"Blackbox[ -]Exporter|Prometheus/|Catchpoint|AlertSite|Amazon-Route53-Health-Check",
    # link previewers
    r"Slackbot|Slack-ImgProxy|Twitterbot|facebookexternalhit|facebookcatalog|meta-externalagent",
    r"LinkedInBot|Discordbot|TelegramBot|WhatsApp/|SkypeUriPreview|Mattermost-Bot|Embedly|Iframely",
    r"Pinterestbot|redditbot|Viber|MicrosoftPreview|notion-embed|Google-PageRenderer|bitlybot",
    # crawlers and scanners
    r"Googlebot|Google-InspectionTool|Storebot-Google|AdsBot-Google|Mediapartners-Google|bingbot",
    r"Slurp|DuckDuckBot|Baiduspider|YandexBot|YandexImages|Sogou|Applebot|Amazonbot|PetalBot",
    r"AhrefsBot|SemrushBot|MJ12bot|DotBot|BLEXBot|DataForSeoBot|SeznamBot|Qwantify|archive\.org_bot",
    r"GPTBot|ChatGPT-User|OAI-SearchBot|ClaudeBot|CCBot|Bytespider|PerplexityBot|ia_archiver",
    r"CensysInspect|zgrab|masscan|Nmap Scripting|Expanse|InternetMeasurement|NetcraftSurveyAgent",
)
"""User agents, as these clients name themselves, that come by themselves and are nobody's use."""

_AUTOMATIC = re.compile("|".join(AUTOMATIC_CLIENTS), re.IGNORECASE)


def networks(texts: Iterable[str]) -> Networks:
    """Parsed networks; a single address is a network of one. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def within(address: str | None, nets: Networks) -> bool:
    """Whether an address lies in one of the networks; what is no address never does."""
    if not nets or address is None:
        return False
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed.version == net.version and parsed in net for net in nets)


def is_loopback(address: str | None) -> bool:
    """Whether the visitor sits on this machine."""
    return within(address, _LOOPBACK)


_LOOPBACK = networks(("127.0.0.0/8", "::1"))

_Test = Callable[[str, str, str, str | None], bool]


@lru_cache(maxsize=1024)
def _ignores(rules: IgnoreAccess) -> _Test:
    """The rules as one test of (method, path, user agent, address)."""
    methods = frozenset(rules.methods)
    paths = [re.compile(pattern) for pattern in rules.paths]
    agents = [re.compile(pattern, re.IGNORECASE) for pattern in rules.user_agents]
    if rules.built_in:
        agents.append(_AUTOMATIC)
    nets = networks(rules.addresses)

    def test(method: str, path: str, agent: str, address: str | None) -> bool:
        return (
            method in methods
            or any(pattern.fullmatch(path) for pattern in paths)
            or (bool(agent) and any(pattern.search(agent) for pattern in agents))
            or within(address, nets)
        )

    return test


def counts(
    rules: IgnoreAccess, *, method: str, path: str, headers: Mapping[str, str], address: str | None
) -> bool:
    """Whether the request is a use of the app. `headers` finds names in any case."""
    if "prefetch" in headers.get("Sec-Purpose", "").lower():
        return False
    return not _ignores(rules)(method, path, headers.get("User-Agent", ""), address)


def is_navigation(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for a page to show, by GET or HEAD.

    Sec-Fetch-Mode says so (W3C Fetch Metadata); where it is missing, `Accept` prefers HTML.
    """
    if method not in ("GET", "HEAD"):
        return False
    mode = headers.get("Sec-Fetch-Mode")
    if mode is not None:
        return mode.strip().lower() == "navigate"
    return prefers_html(headers.get("Accept", ""))


def prefers_html(accept: str) -> bool:
    """Whether HTML is named and nothing else is wanted more (RFC 9110, section 12.5.1)."""
    html, other = 0.0, 0.0
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        if kind in ("text/html", "application/xhtml+xml"):
            html = max(html, weight)
        elif kind != "*/*":
            other = max(other, weight)
    return html > 0.0 and html >= other


def is_browser(headers: Mapping[str, str]) -> bool:
    """Whether the client looks like a browser at all."""
    return "Sec-Fetch-Mode" in headers or headers.get("User-Agent", "").startswith("Mozilla/")


def may_wake(by: WakeBy, method: str, headers: Mapping[str, str]) -> bool:
    """Whether this kind of request may wake the app: not, by visit, a forgotten tab's polling."""
    return by is WakeBy.ANY or is_navigation(method, headers) or not is_browser(headers)
