"""The definitions on a real server: what they explain, refuse and keep."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from paastis.app import App, AppChange, Phase, Process
from paastis.pattern import compile_pattern
from paastis.policy import Policy
from paastis.reasons import Reason
from paastis.resources.account import account_status
from paastis.resources.app import app_from, standing_from
from paastis.resources.names import ACCOUNTS, APPS, RULES, Resource
from paastis.resources.rule import rule_status
from paastis.resources.standing import standing_of
from paastis.resources.writing import spec_change, spec_of, status_change, status_of
from tests.cluster.access import MERGE_PATCH, ApiError
from tests.paastis.factories import MINUTE, NOW, SNAPSHOT, an_app
from tests.paastis.resources import strategies
from tests.paastis.resources.definitions import fields, schema

if TYPE_CHECKING:
    from tests.cluster.access import Cluster

pytestmark = pytest.mark.usefixtures("crds")

KINDS = {resource.kind: resource for resource in (APPS, RULES, ACCOUNTS)}
AN_APP = {"accountRef": {"name": "main"}, "appId": "5f1", "region": "osc-fr1"}
A_RULE = {"pattern": "review-.*"}
AN_ACCOUNT = {"provider": "scalingo"}
LEAST: dict[str, dict[str, Any]] = {
    "PaastisApp": AN_APP,
    "PaastisRule": A_RULE,
    "PaastisAccount": AN_ACCOUNT,
}


def path(resource: Resource, namespace: str, name: str = "", part: str = "") -> str:
    """Where a resource, or all of them, are found."""
    return "/".join(
        word
        for word in (
            f"/apis/{resource.group}/{resource.version}/namespaces/{namespace}/{resource.plural}",
            name,
            part,
        )
        if word
    )


def create(
    cluster: Cluster, namespace: str, kind: str, name: str, spec: object, *, dry: bool = False
) -> dict[str, Any]:
    """A new resource, or an ApiError with the refusal. Unknown fields are refused, too."""
    resource = KINDS[kind]
    body = {"metadata": {"name": name}, "spec": spec}
    body |= {"apiVersion": resource.api_version, "kind": kind}
    where = f"{path(resource, namespace)}?fieldValidation=Strict{'&dryRun=All' if dry else ''}"
    created: dict[str, Any] = cluster.request("POST", where, body)
    return created


def would_create(cluster: Cluster, kind: str, spec: object) -> None:
    """An ApiError with the refusal, or nothing; nothing is created."""
    create(cluster, "default", kind, "one", spec, dry=True)


def patch(
    cluster: Cluster, resource: Resource, namespace: str, name: str, body: object, part: str = ""
) -> dict[str, Any]:
    """What a merge patch leaves; fields that the schema does not know are refused."""
    where = f"{path(resource, namespace, name, part)}?fieldValidation=Strict"
    left: dict[str, Any] = cluster.request("PATCH", where, body, content_type=MERGE_PATCH)
    return left


# --- explained --------------------------------------------------------------------------------


def explained(cluster: Cluster, *what: str) -> str:
    """What kubectl tells, once the server has published it: that is after the first use."""
    deadline = time.monotonic() + 30
    while True:
        done = cluster.kubectl("explain", *what, check=False)
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


@pytest.mark.parametrize("part", ["spec", "status"])
def test_explain_lists_every_field_of_an_app(cluster: Cluster, part: str) -> None:
    said = explained(cluster, f"paastisapp.{part}", "--recursive")
    listed = {line.split()[0] for line in said.splitlines() if "\t<" in line}
    assert fields("paastisapps", part) <= listed
    for within in ("wake", "schedule", "ignoreAccess"):
        where = [part, within] if part == "spec" else [part, "policy", within]
        assert fields("paastisapps", *where) <= listed


@pytest.mark.parametrize(
    ("what", "plural", "where"),
    [
        ("paastisapp.spec", "paastisapps", ["spec"]),
        ("papp.spec.wake", "paastisapps", ["spec", "wake"]),
        ("paastisapp.status", "paastisapps", ["status"]),
        ("prule.spec", "paastisrules", ["spec"]),
        ("pacct.spec", "paastisaccounts", ["spec"]),
    ],
)
def test_explain_tells_what_each_field_is(
    cluster: Cluster, what: str, plural: str, where: list[str]
) -> None:
    said = " ".join(explained(cluster, what).split())
    for name, known in schema(plural, *where)["properties"].items():
        assert " ".join(known["description"].split()) in said, name


# --- refused ----------------------------------------------------------------------------------

A_DURATION = "Expected a duration from 0s to 8760h (a year), as in 90s, 15m, 2h or 1h30m."
A_TUNNEL = "Expected a duration from 1s to 8760h (a year), as in 90s, 15m, 2h or 1h30m."
A_ZONE = "Expected an IANA time zone, as in Europe/Paris or UTC."
A_CRON = (
    "Expected a cron expression of five fields (minute, hour, day of month, month, day of week), "
    "as in 0 8 * * 1-5."
)
A_HOST = "Expected a host name in lower case, as in shop.example.com."
A_NETWORK = "Expected an address or network, as in 192.0.2.7 or 10.0.0.0/8."
AN_ADDRESS = "Expected an address without user name, query and fragment, as in https://a"


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("PaastisApp", {"maxIdleTime": "15 minutes"}, A_DURATION),
        ("PaastisApp", {"maxIdleTime": "15"}, A_DURATION),
        ("PaastisApp", {"maxIdleTime": ""}, A_DURATION),
        ("PaastisApp", {"maxIdleTime": "-1m"}, A_DURATION),
        ("PaastisApp", {"maxIdleTime": "1m1h"}, A_DURATION),
        ("PaastisApp", {"maxIdleTime": "8760h1s"}, A_DURATION),
        ("PaastisApp", {"maxTunnelIdle": "0s"}, A_TUNNEL),
        ("PaastisApp", {"wake": {"timeout": "11m"}}, "from 1s to 10m, as in 50s or 1m30s."),
        ("PaastisApp", {"power": "AlwaysOm"}, 'supported values: "Auto", "AlwaysOn", "AlwaysOff"'),
        ("PaastisApp", {"powr": "Auto"}, 'unknown field "spec.powr"'),
        ("PaastisApp", {"wake": {"mode": "teleport"}}, 'Unsupported value: "teleport"'),
        ("PaastisApp", {"wake": {"pageStatus": 404}}, 'supported values: "503", "200", "202"'),
        ("PaastisApp", {"wake": {"readyPath": "health"}}, "Expected a path, as in /health."),
        ("PaastisApp", {"schedule": {"timeZone": "Paris time"}}, A_ZONE),
        ("PaastisApp", {"schedule": {"timeZone": ""}}, A_ZONE),
        ("PaastisApp", {"schedule": {"awake": [{"start": "8:00", "end": "0 9 * * *"}]}}, A_CRON),
        ("PaastisApp", {"schedule": {"sleep": [{"start": "0 8 * * *"}]}}, "end: Required value"),
        ("PaastisApp", {"hosts": ["https://shop.example.com"]}, A_HOST),
        ("PaastisApp", {"hosts": ["$1.example.com"]}, A_HOST),
        ("PaastisApp", {"ignoreAccess": {"addresses": ["10.0.0.0/8", "home"]}}, A_NETWORK),
        ("PaastisApp", {"ignoreAccess": {"methods": ["get"]}}, "Expected an HTTP method"),
        ("PaastisApp", {"ignoreAccess": {"paths": ["/(a"]}}, "Expected a regular expression."),
        ("PaastisApp", {"awakeUntil": "tomorrow"}, "must be of type date-time"),
        ("PaastisApp", {"appId": None}, "spec.appId: Required value"),
        ("PaastisRule", {"pattern": "(a"}, "missing closing )"),
        ("PaastisRule", {"pattern": "(a"}, "Expected a regular expression."),
        ("PaastisRule", {"pattern": "[a"}, "missing closing ]"),
        ("PaastisRule", {"pattern": "*"}, "Expected a regular expression."),
        ("PaastisRule", {"pattern": ""}, "should be at least 1 chars long"),
        ("PaastisRule", {"pattern": "a" * 201}, "may not be more than 200 bytes"),
        ("PaastisRule", {"pattern": None}, "spec.pattern: Required value"),
        ("PaastisRule", {"hosts": ["$1.example.com", "a b"]}, A_HOST),
        ("PaastisRule", {"priority": 1_000_000}, "less than or equal to 999999"),
        ("PaastisRule", {"hooks": {"beforeStop": "x"}}, 'unknown field "spec.hooks"'),
        ("PaastisAccount", {"provider": "scalingoo"}, 'supported values: "scalingo", "heroku"'),
        ("PaastisAccount", {"mode": "manage"}, 'supported values: "Observe", "Manage", "Pause"'),
        ("PaastisAccount", {"apiUrl": "api.example.com"}, AN_ADDRESS),
        ("PaastisAccount", {"authUrl": "https://me:secret@a.example"}, AN_ADDRESS),
        ("PaastisAccount", {"discoveryInterval": "1s"}, "Expected a duration from 10s to 24h"),
        ("PaastisAccount", {"operationTimeout": "2h"}, "Expected a duration from 1s to 1h"),
        ("PaastisAccount", {"onlyApps": ["a", "(b"]}, "Expected a name, or a regular expression."),
        ("PaastisAccount", {"regions": ["Paris"]}, "Expected a region in lower case"),
        ("PaastisAccount", {"credentialsSecretRef": {}}, "name: Required value"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(
    cluster: Cluster, kind: str, spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(ApiError) as refused:
        would_create(cluster, kind, LEAST[kind] | spec)
    assert refused.value.status in {400, 422}
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("PaastisApp", {"appId": "5f2"}, "The id is part of what makes this app itself"),
        ("PaastisApp", {"region": "osc-secnum-fr1"}, "The region is part of what makes this app"),
        ("PaastisApp", {"accountRef": {"name": "other"}}, "The account is part of what makes this"),
        ("PaastisAccount", {"provider": "heroku"}, "The provider cannot be changed, since the app"),
    ],
)
def test_what_a_resource_is_cannot_be_changed(
    cluster: Cluster, namespace: str, kind: str, change: dict[str, Any], said: str
) -> None:
    create(cluster, namespace, kind, "fixed", LEAST[kind])
    with pytest.raises(ApiError, match=said) as refused:
        patch(cluster, KINDS[kind], namespace, "fixed", {"spec": change})
    assert refused.value.status == 422


def test_name_of_an_account_is_a_plain_word(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiError, match="lower-case letters, digits and dashes"):
        create(cluster, namespace, "PaastisAccount", "main.eu", AN_ACCOUNT)


def test_kubectl_shows_the_refusal(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, "PaastisApp", "shop", AN_APP)
    change = json.dumps({"spec": {"maxIdleTime": "15 minutes"}})
    done = cluster.kubectl(
        *("patch", "papp/shop", "-n", namespace, "--type=merge", f"--patch={change}"), check=False
    )
    assert done.returncode != 0
    assert f'spec.maxIdleTime: Invalid value: "15 minutes": {A_DURATION}' in done.stderr


# --- kept -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        *("review-.*", r"shop-(\d+)", "(?P<pr>[0-9]+)-x", "(?<pr>[0-9]+)-x", "(?:a|b)", "(?i)shop"),
        *("(?=a)b", "(?!prod)[a-z]+", r"(.)\1", "(?P<a>x)(?P=a)", "[a-z]++", r"a\_b", r"\Aa\Z"),
    ],
)
def test_every_expression_that_the_code_can_use_is_taken(cluster: Cluster, pattern: str) -> None:
    compile_pattern(pattern)
    would_create(cluster, "PaastisRule", {"pattern": pattern})


@pytest.mark.parametrize("idle", ["0s", "90s", "15m", "2h", "1h30m", "48h5s", "500ms", "0.001ms"])
def test_durations_are_taken(cluster: Cluster, idle: str) -> None:
    would_create(cluster, "PaastisApp", AN_APP | {"maxIdleTime": idle})


_numbers = count()


@given(strategies.apps, strategies.changes)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_record_and_every_change_is_kept_exactly(
    cluster: Cluster, namespace: str, app: App, change: AppChange
) -> None:
    name = f"app-{next(_numbers)}"
    app = replace(app, name=name)
    create(cluster, namespace, APPS.kind, name, spec_of(app))
    standing = standing_of(app, ())
    written = {"status": status_of(app, standing, 1)}
    left = patch(cluster, APPS, namespace, name, written, "status")
    assert left["status"] == written["status"]
    assert left["spec"] == spec_of(app)
    assert app_from(left) == replace(app, version=int(left["metadata"]["resourceVersion"]))

    if asked := spec_change(change):
        left = patch(cluster, APPS, namespace, name, {"spec": asked})
    after = strategies.after(app, change)
    if told := status_change(change, before=app, standing=standing):
        left = patch(cluster, APPS, namespace, name, {"status": told}, "status")
    assert left["spec"] == spec_of(after)
    assert app_from(left) == replace(after, version=int(left["metadata"]["resourceVersion"]))
    assert standing_from(left) == standing_of(after, standing)


def test_spec_and_status_are_written_through_their_own_doors(
    cluster: Cluster, namespace: str
) -> None:
    create(cluster, namespace, "PaastisApp", "shop", AN_APP)
    both: dict[str, Any] = {"spec": {"appName": "shop"}, "status": {"cycle": 7}}
    by_spec = patch(cluster, APPS, namespace, "shop", both)
    assert "status" not in by_spec
    assert by_spec["spec"]["appName"] == "shop"
    by_status = patch(cluster, APPS, namespace, "shop", both | {"spec": {"appName": "x"}}, "status")
    assert by_status["status"] == {"cycle": 7}
    assert by_status["spec"]["appName"] == "shop"


def test_account_observes_unless_it_says_otherwise(cluster: Cluster, namespace: str) -> None:
    created = create(cluster, namespace, "PaastisAccount", "main", AN_ACCOUNT)
    assert created["spec"]["mode"] == "Observe"


# --- listed -----------------------------------------------------------------------------------


def table(cluster: Cluster, namespace: str, *arguments: str) -> list[dict[str, str]]:
    """What kubectl prints, by column; columns begin where their names do."""
    head, *rows = cluster.kubectl("get", "-n", namespace, *arguments).stdout.splitlines()
    starts = [at for at, letter in enumerate(head) if letter != " " and (" " + head)[at] == " "]
    ends = [*starts[1:], None]
    return [
        {head[a:b].strip(): row[a:b].strip() for a, b in zip(starts, ends, strict=True)}
        for row in rows
    ]


def test_columns_tell_where_an_app_is(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, "PaastisApp", "my-app", AN_APP)
    app = an_app(
        Phase.ASLEEP,
        phase_reason=Reason.IDLE,
        url="https://my-app.osc-fr1.scalingo.io",
        last_access_time=NOW,
        policy=Policy(
            max_idle_time=timedelta(minutes=90), sources={"max_idle_time": "PaastisRule reviews"}
        ),
        formation=(Process("web", 1, "M"),),
        snapshot=SNAPSHOT,
    )
    status = {"status": status_of(app, standing_of(app, ()))}
    patch(cluster, APPS, namespace, "my-app", status, "status")
    (row,) = table(cluster, namespace, "paastisapps")
    assert list(row) == ["NAME", "ACCOUNT", "PHASE", "LAST-ACCESS", "MAX-IDLE", "AGE"]
    assert (row["NAME"], row["ACCOUNT"], row["PHASE"]) == ("my-app", "main", "Asleep")
    assert row["MAX-IDLE"] == "1h30m"
    assert row["LAST-ACCESS"].endswith("d")
    (wide,) = table(cluster, namespace, "papp", "-o", "wide")
    assert wide.keys() - row.keys() == {"URL", "RULE", "REASON"}
    assert wide["URL"] == "https://my-app.osc-fr1.scalingo.io"
    assert (wide["RULE"], wide["REASON"]) == ("reviews", "Idle")


def test_columns_tell_how_rules_and_accounts_are_doing(cluster: Cluster, namespace: str) -> None:
    rule = create(cluster, namespace, "PaastisRule", "reviews", A_RULE | {"priority": 10})
    told = rule_status(rule, apps=3, problems=(), dropped=("host '$9' was dropped",), now=NOW)
    patch(cluster, RULES, namespace, "reviews", {"status": told}, "status")
    (row,) = table(cluster, namespace, "prule")
    assert list(row) == ["NAME", "PATTERN", "PRIORITY", "APPS", "VALID", "AGE"]
    assert list(row.values())[:-1] == ["reviews", "review-.*", "10", "3", "False"]

    account = create(cluster, namespace, "PaastisAccount", "main", AN_ACCOUNT)
    told = account_status(
        account,
        reachable=True,
        apps=12,
        budget_left=50,
        last_complete_listing=NOW - MINUTE,
        conditions=(),
        now=NOW,
    )
    patch(cluster, ACCOUNTS, namespace, "main", {"status": told}, "status")
    (row,) = table(cluster, namespace, "pacct")
    assert list(row) == ["NAME", "PROVIDER", "MODE", "REACHABLE", "APPS", "AGE"]
    assert list(row.values())[:-1] == ["main", "scalingo", "Observe", "true", "12"]


def test_category_gets_all_three_kinds(cluster: Cluster, namespace: str) -> None:
    for kind, spec in LEAST.items():
        create(cluster, namespace, kind, "one", spec)
    names = cluster.kubectl("get", "paastis", "-n", namespace, "-o", "name").stdout.split()
    assert sorted(names) == sorted(f"{kind.lower()}.paastis.io/one" for kind in LEAST)


def test_condition_can_be_waited_for(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, "PaastisApp", "shop", AN_APP)
    status = {"status": status_of(an_app(Phase.ASLEEP), standing_of(an_app(Phase.ASLEEP), ()))}
    patch(cluster, APPS, namespace, "shop", status, "status")
    for condition in ("Asleep=True", "Ready=False", "Managed=True"):
        cluster.kubectl(
            *("wait", f"--for=condition={condition}", "papp/shop", "-n", namespace),
            "--timeout=10s",
        )
