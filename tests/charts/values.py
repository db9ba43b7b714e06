"""Values to try the chart with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.charts import made

if TYPE_CHECKING:
    from collections.abc import Iterator

Values = dict[str, Any]

DEFAULTS: Values = yaml.safe_load((made.CHART / "values.yaml").read_text(encoding="utf-8"))

_PROGRAM: Values = {
    "replicas": 3,
    "revisionHistoryLimit": 1,
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    "annotations": {"example.org/a": "b"},
    "podLabels": {"team": "platform", "app.kubernetes.io/name": "cannot-be-changed"},
    "podAnnotations": {"example.org/a": "b"},
    "priorityClassName": "important",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}
            ]
        }
    },
    "topologySpreadConstraints": [
        {
            "topologyKey": "kubernetes.io/hostname",
            "maxSkew": 2,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"team": "platform"}},
        }
    ],
    "livenessProbe": {"initialDelaySeconds": 5, "periodSeconds": 20},
    "readinessProbe": {"successThreshold": 2},
    "extraEnv": [
        {"name": "LOGGING_LEVEL", "value": "debug"},
        {"name": "SLACK_URL", "valueFrom": {"secretKeyRef": {"name": "slack", "key": "url"}}},
    ],
    "extraEnvFrom": [{"configMapRef": {"name": "more", "optional": True}}],
    "extraVolumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
    "extraVolumeMounts": [{"name": "scripts", "mountPath": "/scripts", "readOnly": True}],
}
EVERYTHING: Values = {
    "accounts": {
        "made": {
            "provider": "scalingo",
            "mode": "Manage",
            "credentials": {"apiToken": "tk-us-made"},
            "regions": ["osc-fr1"],
            "ignoredApps": ["paastis"],
            "onlyApps": ["staging-.*"],
            "discoveryInterval": "2m",
            "apiUrl": "https://api.example.org",
            "authUrl": "https://auth.example.org",
            "operationTimeout": "3m",
            "callsPerMinute": 30,
            "maxIdleTime": "1h",
        },
        "named": {"provider": "scalingo", "credentials": {"existingSecret": "scalingo"}},
    },
    "rules": {
        "staging": {
            "pattern": "staging-(.*)",
            "accounts": ["made"],
            "priority": 10,
            "maxIdleTime": "1h30m",
            "linkedApps": ["api-$1"],
            "displayName": "stage-$1",
            "power": "Auto",
            "hosts": ["$1.example.org"],
            "schedule": {
                "timeZone": "Europe/Paris",
                "awake": [{"start": "0 8 * * 1-5", "end": "0 19 * * 1-5"}],
            },
            "wake": {"mode": "hold", "timeout": "40s"},
            "ignoreAccess": {"paths": ["/health"]},
        }
    },
    "credentialSecrets": ["scalingo-team-b", "scalingo"],
    "settings": {
        "maxIdleTime": "30m",
        "discoveryCron": "*/5 * * * *",
        "accessResolution": "20s",
        "drainTime": "10s",
        "ignoredApps": ["paastis", "billing-.*"],
        "allowInsecure": True,
    },
    "hooks": {
        "beforeStart": "echo 'it is' \"time\"",
        "afterStart": "true",
        "beforeStop": "true",
        "afterStop": "true",
        "timeout": "2m",
        "passEnv": ["SLACK_URL"],
        "rules": [{"pattern": "shop-.*", "accounts": ["made"], "beforeStop": ""}],
    },
    "logging": {"level": "warning", "format": "text"},
    "listenAddress": "::",
    "systemApi": {"enabled": True, "token": "system-token"},
    "image": {
        "repository": "registry.example.org:5000/paastis",
        "digest": "sha256:" + 64 * "a",
        "pullPolicy": "Always",
    },
    "imagePullSecrets": [{"name": "pull"}],
    "commonLabels": {"team": "platform"},
    "controller": {
        **_PROGRAM,
        "serviceAccount": {"name": "decider", "annotations": {"example.org/a": "b"}},
        "terminationGracePeriodSeconds": 60,
    },
    "proxy": {
        **_PROGRAM,
        "serviceAccount": {"name": "visitors", "annotations": {"example.org/a": "b"}},
        "baseDomains": ["apps.example.org", "*.apps.example.com"],
        "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
        "drainTimeout": "1m30s",
        "preStopSleepSeconds": 10,
        "limits": {"maxHeld": 1000, "bodyKept": "1MiB", "maxHeaders": 50},
        "autoscaling": {
            "enabled": True,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "memory",
                        "target": {"type": "Utilization", "averageUtilization": 80},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
        "service": {
            "type": "LoadBalancer",
            "nodePort": 31234,
            "annotations": {"example.org/a": "b"},
            "externalTrafficPolicy": "Local",
            "loadBalancerClass": "example.org/a",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "ipFamilyPolicy": "PreferDualStack",
        },
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"example.org/a": "b"},
        "tls": [{"secretName": "wildcard", "hosts": ["*.apps.example.org"]}],
    },
    "httpRoute": {
        "enabled": True,
        "annotations": {"example.org/a": "b"},
        "parentRefs": [{"name": "public", "namespace": "gateways"}],
        "timeouts": {"request": "0s"},
    },
    "admissionPolicy": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "visitorsFrom": [{"namespaceSelector": {}}],
        "monitoringFrom": [{"podSelector": {}}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "interval": "1m",
        "relabelings": [{"action": "labeldrop", "regex": "pod"}],
        "metricRelabelings": [{"action": "drop", "regex": "go_.*", "sourceLabels": ["__name__"]}],
    },
    "wakeOnUninstall": {"enabled": True, "timeout": "5m"},
}
"""Every switch on, and most values other than their default."""

SCALINGO: Values = {"provider": "scalingo", "credentials": {"existingSecret": "scalingo"}}
"""The least that an account needs."""


def switches(values: Values = DEFAULTS, prefix: str = "") -> Iterator[str]:
    """The path of everything that can be switched on or off."""
    for name, value in values.items():
        if name in {"podSecurityContext", "securityContext"}:
            continue  # those are Kubernetes' own
        if isinstance(value, bool):
            yield f"{prefix}{name}"
        elif isinstance(value, dict):
            yield from switches(value, f"{prefix}{name}.")


def switched(values: Values, path: str, *, on: bool) -> Values:
    """A copy with one switch set."""
    name, _, rest = path.partition(".")
    inner = switched(values.get(name, {}), rest, on=on) if rest else on
    return {**values, name: inner}


def with_switches(values: Values, *, on: bool) -> Values:
    """A copy with all of them set."""
    for path in switches():
        values = switched(values, path, on=on)
    return values
