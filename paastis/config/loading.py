"""How the configuration is put together from its sources; see `paastis/config/options.py` for its parts.

In this order, the first that says something wins: command line, environment, `.env`, `paastis.yml`,
default. `load_config` is pure and finds every problem before it raises; `read_config` is the edge
that reads the files.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

from paastis.config import values
from paastis.config.accounts import AVAILABLE_PROVIDERS, PROVIDERS, AccountConfig
from paastis.config.cluster import cluster_config, hook_rules, without_effect
from paastis.config.files import read_files
from paastis.config.options import Config, ControllerConfig, HookConfig, ProxyConfig, SystemConfig
from paastis.config.reader import Reader, unknown_variables
from paastis.config.rules_file import FileContent, parse_rules_file
from paastis.config.values import SECOND, did_you_mean
from paastis.errors import ConfigError
from paastis.policy import Mode, Settings
from paastis.rule import LONGEST_RESOLUTION, Hooks
from paastis.schedule import check_cron
from paastis.secret import Secret

_LEVELS = {
    "debug": "DEBUG",
    "info": "INFO",
    "warning": "WARNING",
    "warn": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
}
_MEBIBYTE = 1024 * 1024
_DAY = timedelta(days=1)


def load_config(
    *,
    environ: Mapping[str, str],
    dotenv: Mapping[str, str],
    rules_text: str | None,
    rules_path: str | None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Put the configuration together; pure.

    `rules_text` is the text of `paastis.yml`, None where there is none, `rules_path` what to call
    it. `overrides` is the command line's say, by name of variable. Raises ConfigError with every
    problem found.
    """
    sources = (overrides or {}, environ, dotenv)
    reader = Reader(sources)
    insecure = reader.read("PROVIDER_ALLOW_INSECURE", values.flag, default=False)
    file = FileContent()
    file_name = rules_path or "paastis.yml"
    if rules_text is not None:
        file = parse_rules_file(
            rules_text,
            name=file_name,
            variable=reader.given,
            insecure=insecure,
            problems=reader.problems,
        )
    proxy = _proxy(reader)
    hooks = _hooks(reader)
    registry_type = _registry_type(reader)
    in_cluster = registry_type == "kubernetes"
    ignored = reader.listing("REGISTRY_IGNORED_APPS", values.pattern)
    config = Config(
        accounts=() if in_cluster else _accounts(reader, file, ignored, insecure=insecure),
        rules=hook_rules(file) if in_cluster else file.rules,
        defaults=Settings(
            max_idle_time=reader.optional("START_AND_STOP_MAX_IDLE_TIME", values.idle_time)
        ),
        proxy=proxy,
        system=_system(reader, proxy),
        controller=_controller(reader),
        hooks=hooks,
        registry_type=registry_type,
        state_file=_state_file(reader),
        redis_url=_redis_url(reader, registry_type),
        cluster=cluster_config(reader),
        ignored_apps=ignored,
        allow_insecure=insecure,
        logging_level=reader.read("LOGGING_LEVEL", values.choice(_LEVELS), "INFO"),
        logging_format=reader.read(
            "LOGGING_FORMAT", values.choice({"text": "text", "json": "json"}), "text"
        ),
        warnings=unknown_variables(sources, {*file.variables, *hooks.pass_env})
        + (without_effect(reader, file, file_name) if in_cluster else ()),
    )
    _check_rules(config, reader)
    _check_ports(config, reader)
    if reader.problems:
        raise ConfigError(reader.problems)
    return config


def read_config(
    directory: Path, *, environ: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Config:
    """Read `.env` and `paastis.yml` (or what `PAASTIS_CONFIG` names) in a directory, then load.

    Either file may be missing, but not one that was named. Raises ConfigError, also for files that
    cannot be read.
    """
    files = read_files(directory, environ=environ, overrides=overrides)
    try:
        config = load_config(
            environ=environ,
            dotenv=files.dotenv,
            rules_text=files.rules_text,
            rules_path=files.rules_path,
            overrides=overrides,
        )
    except ConfigError as error:
        raise ConfigError([*files.problems, *error.problems]) from None
    if files.problems:
        raise ConfigError(files.problems)
    return config


def _accounts(
    reader: Reader, file: FileContent, ignored: tuple[str, ...], *, insecure: bool
) -> tuple[AccountConfig, ...]:
    """The accounts of the file, and the one of the environment; what holds for all, added."""
    accounts: dict[str, AccountConfig] = {}
    for account in file.accounts:
        if account.name in accounts:
            reader.problems.append(
                f"{account.source}: the name is taken by {accounts[account.name].source}"
            )
        accounts[account.name] = account
    if provider := reader.optional("PROVIDER_NAME", values.choice(PROVIDERS)):
        known = accounts.get(provider, AccountConfig(name=provider, provider=provider))
        accounts[provider] = _with_environment(reader, known, insecure=insecure)
    elif reader.given("PROVIDER_NAME") is None and not file.names_accounts:
        reader.refuse(
            "PROVIDER_NAME",
            "nothing given; expected scalingo, or accounts in paastis.yml",
        )
    for account in accounts.values():
        _check_account(reader, account)
    mode = reader.optional("PAASTIS_MODE", values.member(Mode))
    return tuple(
        replace(
            account,
            mode=account.mode if mode is None else mode,
            ignored_apps=tuple(dict.fromkeys(account.ignored_apps + ignored)),
        )
        for account in accounts.values()
    )


def _with_environment(reader: Reader, account: AccountConfig, *, insecure: bool) -> AccountConfig:
    """The account with what the variables of its provider say."""
    prefix = f"PROVIDER_{account.provider.removesuffix('-cloud').upper()}_"
    token = reader.optional(f"{prefix}API_TOKEN", values.secret)
    urls = {
        purpose: reader.optional(f"{prefix}{purpose.upper()}_URL", values.url(insecure=insecure))
        for purpose in ("api", "auth")
    }
    timeout = reader.optional(f"{prefix}OPERATION_TIMEOUT", values.operation_timeout)
    calls = reader.optional(f"{prefix}CALLS_PER_MINUTE", values.calls_per_minute)
    return replace(
        account,
        regions=reader.listing("PROVIDER_REGION", values.region) or account.regions,
        credentials={"api_token": token} if token else account.credentials,
        urls={**account.urls, **{purpose: url for purpose, url in urls.items() if url}},
        operation_timeout=account.operation_timeout if timeout is None else timeout,
        calls_per_minute=account.calls_per_minute if calls is None else calls,
    )


def _check_account(reader: Reader, account: AccountConfig) -> None:
    if account.provider not in AVAILABLE_PROVIDERS:
        reader.problems.append(
            f"{account.source}: provider {account.provider!r} is not available in this version; "
            f"expected {' or '.join(sorted(AVAILABLE_PROVIDERS))}"
        )
    elif "api_token" not in account.credentials and account.source != "PROVIDER_NAME":
        reader.problems.append(f"{account.source}: no token; expected api_token or api_token_env")
    elif "api_token" not in account.credentials:
        name = f"PROVIDER_{account.provider.upper()}_API_TOKEN"
        if not reader.given(name):  # one that is not valid has been reported
            reader.refuse(name, f"nothing given; expected the API token for {account.provider}")


def _check_rules(config: Config, reader: Reader) -> None:
    names = [account.name for account in config.accounts]
    for rule in config.rules:
        for name in rule.accounts or ():
            if names and name not in names:
                hint = did_you_mean(name, names) or f"; expected one of {', '.join(names)}"
                reader.problems.append(f"{rule.source}: there is no account {name!r}{hint}")


def _check_ports(config: Config, reader: Reader) -> None:
    probe = config.controller.probe_port
    if config.registry_type == "kubernetes" and probe == config.system.port:
        reader.refuse(
            "CONTROLLER_PROBE_PORT",
            f"{probe} is the system API's ROUTING_SYSTEM_API_PORT; expected another one",
        )


def _proxy(reader: Reader) -> ProxyConfig:
    default = ProxyConfig()
    return ProxyConfig(
        host=reader.read("HOST", values.listen_host, default.host),
        port=reader.read("PORT", values.integer(0, 65535), default.port),
        base_domains=reader.listing("ROUTING_BASE_DOMAINS", values.domain),
        trusted_proxies=tuple(
            ip_network(text) for text in reader.listing("ROUTING_TRUSTED_PROXIES", values.network)
        ),
        drain_timeout=_seconds(reader, "ROUTING_DRAIN_TIMEOUT", default.drain_timeout, low=0),
        max_held_per_app=reader.read(
            "ROUTING_MAX_HELD_PER_APP", values.integer(1, 1_000_000), default.max_held_per_app
        ),
        max_held=reader.read("ROUTING_MAX_HELD", values.integer(1, 1_000_000), default.max_held),
        body_kept=reader.read(
            "ROUTING_BODY_KEPT", values.size(0, 64 * _MEBIBYTE), default.body_kept
        ),
        max_request_line=reader.read(
            "ROUTING_MAX_REQUEST_LINE", values.size(256, _MEBIBYTE), default.max_request_line
        ),
        max_header_size=reader.read(
            "ROUTING_MAX_HEADER_SIZE", values.size(256, _MEBIBYTE), default.max_header_size
        ),
        max_headers=reader.read(
            "ROUTING_MAX_HEADERS", values.integer(10, 10_000), default.max_headers
        ),
        keep_alive=_seconds(reader, "ROUTING_KEEP_ALIVE", default.keep_alive, low=0),
        head_timeout=_seconds(reader, "ROUTING_HEAD_TIMEOUT", default.head_timeout),
        body_timeout=_seconds(reader, "ROUTING_BODY_TIMEOUT", default.body_timeout),
        connect_timeout=_seconds(reader, "ROUTING_CONNECT_TIMEOUT", default.connect_timeout),
        answer_timeout=_seconds(reader, "ROUTING_ANSWER_TIMEOUT", default.answer_timeout),
    )


def _system(reader: Reader, proxy: ProxyConfig) -> SystemConfig:
    default = SystemConfig()
    system = SystemConfig(
        host=reader.read("ROUTING_SYSTEM_API_HOST", values.listen_host, proxy.host),
        port=reader.read("ROUTING_SYSTEM_API_PORT", values.integer(0, 65535), default.port),
        api_enabled=reader.read("ROUTING_SYSTEM_API_ENABLED", values.flag, default=False),
        token=reader.optional("ROUTING_SYSTEM_API_TOKEN", values.secret),
    )
    if system.api_enabled and not reader.given("ROUTING_SYSTEM_API_TOKEN"):
        reader.refuse(
            "ROUTING_SYSTEM_API_TOKEN",
            "nothing given; expected a token, since ROUTING_SYSTEM_API_ENABLED is true",
        )
    if system.port == proxy.port != 0 and system.host == proxy.host:
        reader.refuse(
            "ROUTING_SYSTEM_API_PORT", f"{system.port} is the proxy's PORT; expected another one"
        )
    return system


def _controller(reader: Reader) -> ControllerConfig:
    default = ControllerConfig()
    return ControllerConfig(
        discovery_cron=reader.read(
            "START_AND_STOP_CHECKING_INTERVAL_CRON", check_cron, default.discovery_cron
        ),
        drain_time=_seconds(
            reader, "START_AND_STOP_DRAIN_TIME", default.drain_time, high=timedelta(minutes=5)
        ),
        access_resolution=_seconds(
            reader,
            "START_AND_STOP_ACCESS_RESOLUTION",
            default.access_resolution,
            high=LONGEST_RESOLUTION,
        ),
        probe_port=reader.read(
            "CONTROLLER_PROBE_PORT", values.integer(1, 65535), default.probe_port
        ),
    )


def _hooks(reader: Reader) -> HookConfig:
    default = HookConfig()
    return HookConfig(
        commands=Hooks(
            before_start=reader.optional("HOOKS_BEFORE_START", values.command),
            after_start=reader.optional("HOOKS_AFTER_START", values.command),
            before_stop=reader.optional("HOOKS_BEFORE_STOP", values.command),
            after_stop=reader.optional("HOOKS_AFTER_STOP", values.command),
        ),
        timeout=_seconds(reader, "HOOKS_TIMEOUT", default.timeout),
        pass_env=reader.listing("HOOKS_PASS_ENV", values.variable),
    )


def _registry_type(reader: Reader) -> str:
    kind = reader.read(
        "REGISTRY_TYPE",
        values.choice({name: name for name in ("in-memory", "redis", "kubernetes")}),
        "in-memory",
    )
    if kind == "redis":
        reader.refuse(
            "REGISTRY_TYPE",
            f"{kind!r} is not available in this version; expected in-memory or kubernetes",
        )
    return kind


def _state_file(reader: Reader) -> Path | None:
    if reader.is_empty("REGISTRY_STATE_FILE"):
        return None
    return Path(reader.read("REGISTRY_STATE_FILE", values.text, "paastis.db"))


def _redis_url(reader: Reader, registry_type: str) -> Secret | None:
    # Platforms set REDIS_URL for other purposes too: it is looked at only where it is wanted.
    if reader.given("REGISTRY_REDIS_URL") or registry_type != "redis":
        return reader.optional("REGISTRY_REDIS_URL", values.redis_url)
    return reader.optional("REDIS_URL", values.redis_url)


def _seconds(
    reader: Reader, name: str, default: timedelta, *, low: int = 1, high: timedelta = _DAY
) -> timedelta:
    """A time-out; a bare number counts seconds, and so does `low`."""
    return reader.read(name, values.duration(unit=SECOND, low=low * SECOND, high=high), default)
