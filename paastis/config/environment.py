"""Every environment variable: meaning, default, example.

This is the only list: `sample.env` and the README's table are made from it, and what is not in it
is reported as probably misspelt.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable, as people read about it."""

    name: str
    meaning: str
    default: str = ""
    """As it would be written; empty: none."""
    example: str = ""
    required: str = ""
    """When it must be given; empty: never."""
    secret: bool = False


_LATER = "Not available in this version, which manages Scalingo alone."

GROUPS: Mapping[str, tuple[Variable, ...]] = {
    "Provider": (
        Variable(
            "PROVIDER_NAME",
            "Where the apps run: `scalingo`. (`heroku` and `clever-cloud` are not available yet.)",
            example="scalingo",
            required="unless `paastis.yml` has accounts, or they are resources in a cluster",
        ),
        Variable(
            "PROVIDER_REGION",
            "Regions to manage, separated by commas. Without it, the provider's default region.",
            example="osc-fr1,osc-secnum-fr1",
        ),
        Variable(
            "PROVIDER_SCALINGO_API_TOKEN",
            "API token of the Scalingo account, from its dashboard.",
            example="tk-us-xxx",
            required="if `PROVIDER_NAME` is `scalingo`",
            secret=True,
        ),
        Variable(
            "PROVIDER_SCALINGO_OPERATION_TIMEOUT",
            "How long a start or stop may take before it counts as overdue. Seconds.",
            "5m",
            "300",
        ),
        Variable(
            "PROVIDER_SCALINGO_CALLS_PER_MINUTE",
            "API calls in any 60 seconds. Scalingo allows 60 for the whole account; leave some for "
            "people and their tools.",
            "50",
            "40",
        ),
        Variable(
            "PROVIDER_SCALINGO_API_URL",
            "Address of the regional API, for tests and private installations.",
            example="http://127.0.0.1:8701",
        ),
        Variable(
            "PROVIDER_SCALINGO_AUTH_URL",
            "Address of the authentication API, for tests and private installations.",
            example="http://127.0.0.1:8701",
        ),
        Variable(
            "PROVIDER_ALLOW_INSECURE",
            "Accept `http://` API addresses beyond this machine. The token then travels readable.",
            "false",
            "true",
        ),
        Variable("PROVIDER_HEROKU_API_TOKEN", _LATER, example="HRKU-xxx", secret=True),
        Variable("PROVIDER_HEROKU_OPERATION_TIMEOUT", _LATER, example="300"),
        Variable("PROVIDER_HEROKU_API_URL", _LATER, example="https://api.heroku.com"),
        Variable(
            "PROVIDER_CLEVER_API_HOST",
            _LATER,
            "https://api.clever-cloud.com",
            "https://api.clever-cloud.com",
        ),
        Variable("PROVIDER_CLEVER_OAUTH_CONSUMER_KEY", _LATER, example="xxx", secret=True),
        Variable("PROVIDER_CLEVER_OAUTH_CONSUMER_SECRET", _LATER, example="xxx", secret=True),
        Variable("PROVIDER_CLEVER_TOKEN", _LATER, example="xxx", secret=True),
        Variable("PROVIDER_CLEVER_SECRET", _LATER, example="xxx", secret=True),
        Variable("PROVIDER_CLEVER_OPERATION_TIMEOUT", _LATER, "60", "60"),
    ),
    "What paastis may do, and when": (
        Variable(
            "PAASTIS_MODE",
            "`manage`: put to sleep and wake. `observe`: show what would be done, touch nothing. "
            "`pause`: wake, put nothing to sleep. `wake-all`: wake what paastis put to sleep, then "
            "pause. Given here, it holds for every account.",
            "manage",
            "observe",
        ),
        Variable(
            "PAASTIS_CONFIG",
            "The file with rules and accounts. The default one may be missing.",
            "paastis.yml",
            "/etc/paastis/paastis.yml",
        ),
        Variable(
            "START_AND_STOP_MAX_IDLE_TIME",
            "How long an app may go unused before it is put to sleep. Minutes.",
            "15",
            "2h",
        ),
        Variable(
            "START_AND_STOP_CHECKING_INTERVAL_CRON",
            "When to look for new, deleted and changed apps: a cron expression, in UTC.",
            "* * * * *",
            "*/5 * * * *",
        ),
        Variable(
            "START_AND_STOP_ACCESS_RESOLUTION",
            "How exactly the last access is recorded, at best; an app's own value is a tenth of "
            "its idle time, from this to 60s. Seconds.",
            "10s",
            "2s",
        ),
        Variable(
            "START_AND_STOP_DRAIN_TIME",
            "How long a decision to stop an app rests before it is carried out. Seconds.",
            "5s",
            "10s",
        ),
    ),
    "Visitors": (
        Variable("HOST", "Where the proxy listens: an address or name.", "0.0.0.0", "127.0.0.1"),  # noqa: S104 (documents the default)
        Variable(
            "PORT", "The port on which the proxy listens; 0 takes any free one.", "3000", "80"
        ),
        Variable(
            "ROUTING_BASE_DOMAINS",
            "Domains whose sub-domains are names of apps, separated by commas. Without it, the "
            "first label of any host name is.",
            example="apps.example.com",
        ),
        Variable(
            "ROUTING_TRUSTED_PROXIES",
            "Networks whose `X-Forwarded-*` headers are believed, separated by commas.",
            example="10.0.0.0/8,192.0.2.7",
        ),
        Variable(
            "ROUTING_DRAIN_TIMEOUT",
            "How long requests in flight may take after SIGTERM. Seconds.",
            "30s",
            "1m",
        ),
        Variable(
            "ROUTING_MAX_HELD_PER_APP",
            "Requests that may wait for one sleeping app; more are answered 503.",
            "5000",
            "500",
        ),
        Variable(
            "ROUTING_MAX_HELD",
            "Requests that may wait in all; more are answered 503.",
            "20000",
            "2000",
        ),
        Variable(
            "ROUTING_BODY_KEPT",
            "Bytes of a body that are read ahead while its request waits, and kept to send it once "
            "more.",
            "64KiB",
            "256KiB",
        ),
        Variable(
            "ROUTING_MAX_REQUEST_LINE", "Longest request line accepted, in bytes.", "8KiB", "16KiB"
        ),
        Variable(
            "ROUTING_MAX_HEADER_SIZE", "Longest single header accepted, in bytes.", "8KiB", "16KiB"
        ),
        Variable("ROUTING_MAX_HEADERS", "Most headers accepted in a request.", "100", "200"),
        Variable(
            "ROUTING_KEEP_ALIVE",
            "How long a visitor's idle connection stays open. Seconds.",
            "1m15s",
            "30s",
        ),
        Variable(
            "ROUTING_HEAD_TIMEOUT", "How long a request's head may take. Seconds.", "20s", "10s"
        ),
        Variable(
            "ROUTING_BODY_TIMEOUT",
            "How long a request's body may be silent. Seconds.",
            "1m",
            "5m",
        ),
        Variable(
            "ROUTING_CONNECT_TIMEOUT",
            "How long connecting to an app may take. Seconds.",
            "10s",
            "5s",
        ),
        Variable(
            "ROUTING_ANSWER_TIMEOUT",
            "How long an app may take to begin its answer. Seconds.",
            "1h",
            "5m",
        ),
    ),
    "Health, metrics and system API": (
        Variable(
            "ROUTING_SYSTEM_API_ENABLED",
            "Serve the system API. Health and metrics are always served.",
            "false",
            "true",
        ),
        Variable(
            "ROUTING_SYSTEM_API_TOKEN",
            "What callers of the system API must send as bearer token.",
            example="xxx-yyy-zzz",
            required="if `ROUTING_SYSTEM_API_ENABLED` is true",
            secret=True,
        ),
        Variable(
            "ROUTING_SYSTEM_API_HOST",
            "Where the system port listens. Without it, where the proxy does.",
            example="127.0.0.1",
        ),
        Variable(
            "ROUTING_SYSTEM_API_PORT",
            "The port for health, metrics and system API; 0 takes any free one.",
            "3001",
            "9090",
        ),
        Variable(
            "CONTROLLER_PROBE_PORT",
            "In a cluster: the port on which the controller's watch on the resources answers "
            "`/healthz`, for a liveness probe.",
            "3002",
            "9091",
        ),
    ),
    "Registry": (
        Variable(
            "REGISTRY_TYPE",
            "Where paastis keeps what it knows: `in-memory`, for `paastis run`, or `kubernetes`, for "
            "`paastis controller` and `paastis proxy`: then accounts and rules are resources, too, "
            "and `PAASTIS_MODE` and most `PROVIDER_` variables do nothing. (`redis` is not "
            "available yet.)",
            "in-memory",
            "kubernetes",
        ),
        Variable(
            "REGISTRY_KUBERNETES_NAMESPACE",
            "The namespace whose resources are managed. Without it, that of the Pod, or of the "
            "kubeconfig's context.",
            example="paastis",
        ),
        Variable(
            "POD_NAME",
            "Name of the Pod that a program runs in, from the downward API. With `POD_UID`, the "
            "proxy's heartbeat goes when its Pod goes.",
            example="paastis-proxy-7d4b9-x2x5q",
        ),
        Variable(
            "POD_UID",
            "The Pod's `metadata.uid`, from the downward API.",
            example="4ae2c1f0-3b1d-4c43-a6e3-0f8d1d4f6a11",
        ),
        Variable(
            "REGISTRY_STATE_FILE",
            "File that keeps the in-memory registry over restarts. Empty: none, and a restart "
            "forgets formations.",
            "paastis.db",
            "/data/paastis.db",
        ),
        Variable(
            "REGISTRY_IGNORED_APPS",
            "Apps to leave alone in every account, separated by commas: names, or regular "
            "expressions matched on the whole name.",
            example="paastis,billing-.*",
        ),
        Variable(
            "REGISTRY_REDIS_URL",
            "Address of the Redis server; `REDIS_URL` means the same. Not available in this "
            "version.",
            example="redis://localhost:6379",
            secret=True,
        ),
    ),
    "Hooks: shell commands around starts and stops": (
        Variable(
            "HOOKS_BEFORE_START", "Run before an app is started.", example="./notify.sh waking"
        ),
        Variable("HOOKS_AFTER_START", "Run after an app was started.", example="./notify.sh awake"),
        Variable(
            "HOOKS_BEFORE_STOP",
            "Run before an app is stopped; exit code 75 puts the stop off.",
            example="./is-it-a-good-time.sh",
        ),
        Variable("HOOKS_AFTER_STOP", "Run after an app was stopped.", example="./notify.sh asleep"),
        Variable("HOOKS_TIMEOUT", "How long a hook may take. Seconds.", "1m", "5m"),
        Variable(
            "HOOKS_PASS_ENV",
            "Variables that hooks may see besides `PATH`, `HOME` and their own, separated by commas.",
            example="SLACK_URL",
        ),
    ),
    "Logging": (
        Variable(
            "LOGGING_LEVEL", "`debug`, `info`, `warning`, `error` or `critical`.", "info", "debug"
        ),
        Variable("LOGGING_FORMAT", "`text`, or `json` for one JSON object a line.", "text", "json"),
    ),
}

VARIABLES: Mapping[str, Variable] = {
    variable.name: variable for group in GROUPS.values() for variable in group
}


def environment_table() -> str:
    """The table of all variables, in Markdown."""
    lines = ["| Variable | Meaning | Default | Example |", "|---|---|---|---|"]
    for variable in VARIABLES.values():
        required = f" Required {variable.required}." if variable.required else ""
        default = f"`{variable.default}`" if variable.default else "-"
        lines.append(
            f"| `{variable.name}` | {variable.meaning}{required} | {default} "
            f"| `{variable.example}` |"
        )
    return "\n".join(lines) + "\n"


def sample_env() -> str:
    """The text of `sample.env`: copied to `.env`, it lacks nothing but the token."""
    lines = [
        "# Every environment variable of paastis. Copy this file to .env and fill in the token;",
        "# what is commented out has its default. The environment goes before this file.",
        "# Durations: 90s, 15m, 2h, 1h30m; a bare number counts the unit named with the variable.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"# --- {title} " + "-" * (91 - len(title))]
        for variable in group:
            required = f" Required {variable.required}." if variable.required else ""
            lines += ["", *_wrapped(f"{variable.meaning}{required}".replace("`", ""))]
            lines.append(f"# Default: {variable.default or 'none'}. Example: {variable.example}")
            if variable.name == "PROVIDER_NAME":
                lines.append(f"{variable.name}={variable.example}")
            elif variable.name == "PROVIDER_SCALINGO_API_TOKEN":
                lines.append(f"{variable.name}=")
            else:
                lines.append(f"#{variable.name}={_quoted(variable.default)}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, 98, initial_indent="# ", subsequent_indent="# ")
