"""The configuration: every variable, the order of sources, and every problem in one go."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paastis.config import Config, load_config, read_config
from paastis.config.environment import VARIABLES
from paastis.config.options import (
    ClusterConfig,
    ControllerConfig,
    HookConfig,
    ProxyConfig,
    SystemConfig,
)
from paastis.errors import ConfigError
from paastis.policy import Mode, Settings
from paastis.rule import Hooks
from paastis.secret import Secret

TOKEN = "tk-us-very-secret"
MINIMAL = {"PROVIDER_NAME": "scalingo", "PROVIDER_SCALINGO_API_TOKEN": TOKEN}


def load(
    given: Mapping[str, str] | None = None,
    *,
    dotenv: Mapping[str, str] | None = None,
    file: str | None = None,
    overrides: Mapping[str, str] | None = None,
    minimal: bool = True,
) -> Config:
    return load_config(
        environ={**(MINIMAL if minimal else {}), **(given or {})},
        dotenv=dotenv or {},
        rules_text=file,
        rules_path="paastis.yml",
        overrides=overrides,
    )


def problems(
    given: Mapping[str, str] | None = None, *, file: str | None = None, minimal: bool = True
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(given, file=file, minimal=minimal)
    return caught.value.problems


def test_the_originals_two_variables_are_enough() -> None:
    config = load()

    (account,) = config.accounts
    assert (account.name, account.provider, account.mode) == ("scalingo", "scalingo", Mode.MANAGE)
    assert account.credentials == {"api_token": Secret(TOKEN)}
    assert (account.regions, account.urls, account.calls_per_minute) == ((), {}, None)
    assert replace(config, accounts=()) == Config(accounts=())


def test_every_value_is_read() -> None:
    config = load(
        {
            "PROVIDER_REGION": "osc-fr1, osc-secnum-fr1,",
            "PROVIDER_SCALINGO_OPERATION_TIMEOUT": "120",
            "PROVIDER_SCALINGO_CALLS_PER_MINUTE": "600",
            "PROVIDER_SCALINGO_API_URL": "http://127.0.0.1:8701/",
            "PROVIDER_SCALINGO_AUTH_URL": "http://auth.localhost:8701",
            "PAASTIS_MODE": "Wake-All",
            "START_AND_STOP_MAX_IDLE_TIME": "0.5",
            "START_AND_STOP_CHECKING_INTERVAL_CRON": "*/5 * * * *",
            "START_AND_STOP_ACCESS_RESOLUTION": "2",
            "START_AND_STOP_DRAIN_TIME": "1s",
            "HOST": "127.0.0.1",
            "PORT": "8080",
            "ROUTING_BASE_DOMAINS": "*.Apps.example.com,b.example.com",
            "ROUTING_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7, 2001:db8::/32",
            "ROUTING_DRAIN_TIMEOUT": "1m",
            "ROUTING_MAX_HELD_PER_APP": "5",
            "ROUTING_MAX_HELD": "6",
            "ROUTING_BODY_KEPT": "1MiB",
            "ROUTING_MAX_REQUEST_LINE": "1024",
            "ROUTING_MAX_HEADER_SIZE": "16k",
            "ROUTING_MAX_HEADERS": "50",
            "ROUTING_KEEP_ALIVE": "1",
            "ROUTING_HEAD_TIMEOUT": "2",
            "ROUTING_BODY_TIMEOUT": "3",
            "ROUTING_CONNECT_TIMEOUT": "4",
            "ROUTING_ANSWER_TIMEOUT": "5",
            "ROUTING_SYSTEM_API_ENABLED": "TRUE",
            "ROUTING_SYSTEM_API_TOKEN": "abc",
            "ROUTING_SYSTEM_API_PORT": "9090",
            "REGISTRY_TYPE": "in-memory",
            "REGISTRY_STATE_FILE": "/data/state.db",
            "REGISTRY_KUBERNETES_NAMESPACE": "paastis",
            "POD_NAME": "paastis-proxy-7d4b9-x2x5q",
            "POD_UID": "4ae2c1f0-3b1d",
            "CONTROLLER_PROBE_PORT": "9091",
            "PROVIDER_ALLOW_INSECURE": "true",
            "REGISTRY_IGNORED_APPS": "paastis, billing-.*",
            "REGISTRY_REDIS_URL": "redis://:password@localhost:6379",
            "HOOKS_BEFORE_START": "echo 1",
            "HOOKS_AFTER_START": "echo 2",
            "HOOKS_BEFORE_STOP": "echo 3",
            "HOOKS_AFTER_STOP": "echo 4",
            "HOOKS_TIMEOUT": "5",
            "HOOKS_PASS_ENV": "SLACK_URL,LANG",
            "LOGGING_LEVEL": "warn",
            "LOGGING_FORMAT": "JSON",
        }
    )

    seconds = timedelta(seconds=1)
    (account,) = config.accounts
    assert account.regions == ("osc-fr1", "osc-secnum-fr1")
    assert account.operation_timeout == 120 * seconds
    assert account.calls_per_minute == 600
    assert account.urls == {"api": "http://127.0.0.1:8701", "auth": "http://auth.localhost:8701"}
    assert account.mode is Mode.WAKE_ALL
    assert account.ignored_apps == ("paastis", "billing-.*")
    assert config == Config(
        accounts=config.accounts,
        defaults=Settings(max_idle_time=30 * seconds),
        proxy=ProxyConfig(
            host="127.0.0.1",
            port=8080,
            base_domains=("apps.example.com", "b.example.com"),
            trusted_proxies=tuple(
                ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
            ),
            drain_timeout=60 * seconds,
            max_held_per_app=5,
            max_held=6,
            body_kept=1024 * 1024,
            max_request_line=1024,
            max_header_size=16 * 1024,
            max_headers=50,
            keep_alive=1 * seconds,
            head_timeout=2 * seconds,
            body_timeout=3 * seconds,
            connect_timeout=4 * seconds,
            answer_timeout=5 * seconds,
        ),
        system=SystemConfig(host="127.0.0.1", port=9090, api_enabled=True, token=Secret("abc")),
        controller=ControllerConfig("*/5 * * * *", 1 * seconds, 2 * seconds, probe_port=9091),
        hooks=HookConfig(
            Hooks("echo 1", "echo 2", "echo 3", "echo 4"), 5 * seconds, ("SLACK_URL", "LANG")
        ),
        state_file=Path("/data/state.db"),
        redis_url=Secret("redis://:password@localhost:6379"),
        cluster=ClusterConfig("paastis", "paastis-proxy-7d4b9-x2x5q", "4ae2c1f0-3b1d"),
        ignored_apps=("paastis", "billing-.*"),
        allow_insecure=True,
        logging_level="WARNING",
        logging_format="json",
    )


def test_documented_defaults_are_the_real_ones() -> None:
    documented = {
        name: variable.default
        for name, variable in VARIABLES.items()
        if variable.default and not name.startswith("PROVIDER_")
    }

    # A default that is written down equals one that is left out.
    given = load(documented)
    assert replace(given, defaults=Settings()) == load()
    assert given.defaults.max_idle_time == timedelta(minutes=15)


def test_command_line_goes_before_environment_before_dotenv() -> None:
    assert load({}, dotenv={"PORT": "1"}).proxy.port == 1
    assert load({"PORT": "2"}, dotenv={"PORT": "1"}).proxy.port == 2
    assert load({"PORT": "2"}, overrides={"PORT": "3"}).proxy.port == 3


def test_blank_values_are_defaults_but_a_blank_state_file_is_none() -> None:
    blank = load(dict.fromkeys(VARIABLES.keys() - MINIMAL.keys(), " "))

    assert blank == replace(load(), state_file=None)


def test_observe_on_the_command_line_holds_for_every_account() -> None:
    file = "accounts: [{provider: scalingo, name: a, api_token: x, mode: manage}]"
    config = load(file=file, overrides={"PAASTIS_MODE": "observe"})

    assert [account.mode for account in config.accounts] == [Mode.OBSERVE, Mode.OBSERVE]


def test_account_of_the_file_needs_no_variable() -> None:
    config = load(
        {"TEAM_TOKEN": "tk-team"},
        file="accounts: [{provider: scalingo, name: team, api_token_env: TEAM_TOKEN}]",
        minimal=False,
    )

    (account,) = config.accounts
    assert account.credentials == {"api_token": Secret("tk-team")}


def test_environment_goes_before_the_files_account_of_the_same_name() -> None:
    config = load(
        {"PROVIDER_REGION": "osc-fr1"},
        file="accounts: [{provider: scalingo, api_token: x, regions: [a, b], calls_per_minute: 9}]",
    )

    (account,) = config.accounts
    assert account.credentials == {"api_token": Secret(TOKEN)}
    assert account.regions == ("osc-fr1",)
    assert account.calls_per_minute == 9


def test_ignored_apps_are_names_or_whole_patterns() -> None:
    (account,) = load({"REGISTRY_IGNORED_APPS": "paastis,billing-.*"}).accounts

    assert not account.covers("paastis")
    assert not account.covers("billing-api")
    assert account.covers("paastis-2")
    only = replace(account, only_apps=("paastis", "web-.*"))
    assert only.covers("web-1")
    assert not only.covers("paastis")
    assert not only.covers("other")


@pytest.mark.parametrize(
    ("name", "given_text", "expected"),
    [
        ("PORT", "http", "'http' is not a whole number from 0 to 65535"),
        ("PORT", "65536", "from 0 to 65535"),
        ("HOST", "a b", "expected an address or name"),
        ("PROVIDER_NAME", "scalingoo", "did you mean 'scalingo'"),
        ("PROVIDER_REGION", "osc fr1", "is not a region"),
        ("PROVIDER_SCALINGO_CALLS_PER_MINUTE", "0", "from 1 to 6000"),
        ("PROVIDER_SCALINGO_OPERATION_TIMEOUT", "soon", "is not a duration such as 90s"),
        ("PROVIDER_SCALINGO_API_URL", "http://api.example.com", "PROVIDER_ALLOW_INSECURE=true"),
        ("PROVIDER_SCALINGO_API_URL", "ftp://127.0.0.1", "expected https://<host>"),
        ("PROVIDER_SCALINGO_API_URL", "https://a:99999", "expected https://<host>"),
        ("PROVIDER_SCALINGO_AUTH_URL", "https://user:pw@a.example.com", "leave it out"),
        ("PROVIDER_SCALINGO_AUTH_URL", "http://localhost.example.com", "unencrypted"),
        ("REGISTRY_TYPE", "redis", "not available in this version; expected in-memory or"),
        ("REGISTRY_KUBERNETES_NAMESPACE", "No_Good", "is not a namespace"),
        ("POD_NAME", "a/b", "is not the name of a Pod"),
        ("POD_UID", "?", "is not a UID"),
        ("CONTROLLER_PROBE_PORT", "0", "from 1 to 65535"),
        ("REGISTRY_TYPE", "memory", "expected one of in-memory"),
        ("REGISTRY_IGNORED_APPS", "a(", "is not a regular expression"),
        ("REGISTRY_REDIS_URL", "http://x", "redis://<host>"),
        ("START_AND_STOP_CHECKING_INTERVAL_CRON", "every minute", "expected five fields"),
        ("START_AND_STOP_MAX_IDLE_TIME", "-1", "is not a duration"),
        ("START_AND_STOP_ACCESS_RESOLUTION", "2m", "expected 1s to 1m"),
        ("PAASTIS_MODE", "destroy", "expected one of observe, manage, pause, wake-all"),
        ("ROUTING_TRUSTED_PROXIES", "10.0.0.0/99", "is not a network"),
        ("ROUTING_BASE_DOMAINS", "exa mple.com", "is not a domain"),
        ("ROUTING_BODY_KEPT", "1GB", "number of bytes"),
        ("ROUTING_SYSTEM_API_ENABLED", "maybe", "neither true nor false"),
        ("ROUTING_SYSTEM_API_PORT", "3000", "is the proxy's PORT"),
        ("HOOKS_PASS_ENV", "A-B", "is not a variable name"),
        ("LOGGING_LEVEL", "loud", "expected one of debug, info"),
        ("LOGGING_FORMAT", "xml", "expected one of text, json"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(
    name: str, given_text: str, expected: str
) -> None:
    (problem,) = problems({name: given_text})

    assert problem.startswith(f"{name}: ")
    assert expected in problem
    assert "\n" not in problem


@pytest.mark.parametrize("provider", ["heroku", "clever-cloud"])
def test_a_provider_to_come_is_named_as_such(provider: str) -> None:
    (problem,) = problems({"PROVIDER_NAME": provider}, minimal=False)

    assert "not available in this version; expected scalingo" in problem


def test_missing_provider_and_missing_token_are_told() -> None:
    assert problems(minimal=False) == (
        "PROVIDER_NAME: nothing given; expected scalingo, or accounts in paastis.yml",
    )
    assert problems({"PROVIDER_SCALINGO_API_TOKEN": ""}) == (
        "PROVIDER_SCALINGO_API_TOKEN: nothing given; expected the API token for scalingo",
    )


def test_system_api_without_a_token_is_refused() -> None:
    (problem,) = problems({"ROUTING_SYSTEM_API_ENABLED": "true"})

    assert problem.startswith("ROUTING_SYSTEM_API_TOKEN: nothing given")


def test_insecure_addresses_are_accepted_on_demand() -> None:
    config = load(
        {
            "PROVIDER_SCALINGO_API_URL": "http://api.example.com",
            "PROVIDER_ALLOW_INSECURE": "true",
        }
    )

    assert config.accounts[0].urls["api"] == "http://api.example.com"


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        {"PORT": "x", "START_AND_STOP_MAX_IDLE_TIME": "y", "ROUTING_SYSTEM_API_ENABLED": "1"},
        file="rules: [{pattern: 'a(', app_idle: 3}]",
    )

    assert len(found) == 5


def test_no_secret_appears_in_a_problem_or_in_the_configuration() -> None:
    found = problems(
        {
            "PROVIDER_SCALINGO_API_TOKEN": "tk-us secret",
            "ROUTING_SYSTEM_API_TOKEN": "secret\nx",
            "REGISTRY_REDIS_URL": "http://:secret@host",
            "PROVIDER_SCALINGO_API_URL": "ftp://:secret@host",
            "PORT": "x",
        },
        file="accounts: [{provider: scalingo, name: a, api_token: 'secret x'}]",
    )

    assert len(found) == 6
    assert "secret" not in "".join(found).replace("it is a secret", "")
    assert TOKEN not in repr(load({"ROUTING_SYSTEM_API_TOKEN": TOKEN}))


def test_misspelt_variables_are_a_warning_with_a_suggestion() -> None:
    config = load(
        {
            "ROUTING_BASEDOMAINS": "x",
            "PAASTIS_SERVICE_HOST": "Kubernetes sets it",
            "PAASTIS_PORT_3001_TCP_ADDR": "Kubernetes sets it",
            "PAASTIS_REQUIRE_ALL": "1",
            "PROVIDER_TEAM_TOKEN": "the-file-names-it",
            "HOME": "/root",
        },
        dotenv={"PROVIDER_NAM": "x"},
        file="accounts: [{provider: scalingo, name: a, api_token_env: PROVIDER_TEAM_TOKEN}]",
    )

    assert [warning.split(";")[1] for warning in config.warnings] == [
        " did you mean 'PROVIDER_NAME'?",
        " did you mean 'ROUTING_BASE_DOMAINS'?",
    ]
    assert config.warnings[0].startswith("PROVIDER_NAM is not a variable that paastis knows")


def test_redis_url_of_something_else_does_no_harm() -> None:
    assert load({"REDIS_URL": "not ours"}).redis_url is None


# --- the edge that reads files


def test_files_are_read_from_the_directory(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "PROVIDER_NAME=scalingo\nexport PROVIDER_SCALINGO_API_TOKEN='tk'\n"
        "# a comment\nHOOKS_AFTER_STOP=echo ${PAASTIS_APP_NAME}\n"
    )
    (tmp_path / "paastis.yml").write_text("rules: [{pattern: a}]")

    config = read_config(tmp_path, environ={})

    assert config.rules[0].source == "rule 'a' (paastis.yml, line 1)"
    assert config.hooks.commands.after_stop == "echo ${PAASTIS_APP_NAME}"


def test_missing_files_are_fine(tmp_path: Path) -> None:
    assert read_config(tmp_path, environ=MINIMAL) == load()


def test_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PAASTIS_CONFIG: there is no file 'other\.yml'"):
        read_config(tmp_path, environ={**MINIMAL, "PAASTIS_CONFIG": "other.yml"})


def test_named_file_is_read_wherever_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.yml"
    elsewhere.write_text("rules: [{pattern: a}]")

    config = read_config(
        tmp_path / "nowhere", environ={**MINIMAL, "PAASTIS_CONFIG": str(elsewhere)}
    )

    assert len(config.rules) == 1


def test_unreadable_files_and_bad_values_are_told_together(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff")
    (tmp_path / "paastis.yml").mkdir()

    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path, environ={**MINIMAL, "LOGGING_LEVEL": "loud"})

    first, second, third = caught.value.problems
    assert first == ".env: not text in UTF-8 (byte 6)"
    assert second.startswith("paastis.yml: cannot be read: ")
    assert third.startswith("LOGGING_LEVEL: ")


def test_bad_line_of_dotenv_is_told_without_its_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\nTOKEN='never closed\n")

    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path, environ=MINIMAL)

    assert caught.value.problems == (".env, line 2: cannot be read as NAME=value",)


# --- nothing but ConfigError

VALUES = st.one_of(
    st.text(max_size=40),
    st.text("0123456789.,:/-*[]()@# smhd", max_size=30),
    st.sampled_from(["true", "scalingo", "http://[::1", "http://[x]/", "https://\u2100", "0/0"]),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({*VARIABLES, "REDIS_URL"})), VALUES, max_size=12))
def test_any_values_give_a_configuration_or_a_config_error(given_values: dict[str, str]) -> None:
    found: tuple[str, ...] = ()
    try:
        load(given_values)
    except ConfigError as error:
        found = error.problems or ("an error without a problem\n",)
    assert all("\n" not in problem for problem in found)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_file_gives_a_configuration_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        load(file=text)


# --- in a cluster -----------------------------------------------------------------------------

IN_CLUSTER = {"REGISTRY_TYPE": "kubernetes"}


def test_cluster_needs_no_account() -> None:
    config = load(IN_CLUSTER, minimal=False)

    assert config == Config(accounts=(), registry_type="kubernetes")


def test_what_does_nothing_in_a_cluster_is_told() -> None:
    file = """
accounts: [{name: a, provider: scalingo, api_token: x}]
rules: [{pattern: a-.*, power: always-on}]
"""
    config = load({**IN_CLUSTER, "PAASTIS_MODE": "manage"}, file=file)

    assert config.accounts == ()
    assert config.rules == ()
    variables, accounts, rules = config.warnings
    assert variables.startswith("PROVIDER_NAME, PROVIDER_SCALINGO_API_TOKEN, PAASTIS_MODE do ")
    assert TOKEN not in variables
    assert "accounts do nothing" in accounts
    assert "rules export" in rules


def test_hooks_of_the_file_count_in_a_cluster() -> None:
    file = "rules: [{pattern: a-.*, power: always-on, hooks: {before_stop: ./ask.sh}}]"
    config = load(IN_CLUSTER, file=file, minimal=False)

    (rule,) = config.rules
    assert (rule.pattern, rule.settings) == ("a-.*", Settings())
    assert rule.hooks == Hooks(before_stop="./ask.sh")


def test_rules_for_accounts_that_are_resources_are_not_refused() -> None:
    file = "rules: [{pattern: a-.*, accounts: [prod], hooks: {before_stop: ./ask.sh}}]"

    assert load(IN_CLUSTER, file=file, minimal=False).rules[0].accounts == ("prod",)


def test_probe_and_system_api_need_two_ports_in_a_cluster_alone() -> None:
    both = {"CONTROLLER_PROBE_PORT": "9000", "ROUTING_SYSTEM_API_PORT": "9000"}

    assert load(both).controller.probe_port == 9000
    (problem,) = problems({**IN_CLUSTER, **both})
    assert problem.startswith("CONTROLLER_PROBE_PORT: 9000 is the system API's")
