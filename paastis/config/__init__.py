"""The configuration: what it consists of, and how it is put together and checked.

`options` and `accounts` are its parts, `environment` lists every variable, `loading` puts all
sources together, `files` finds them, `rules_file` reads `paastis.yml`, `reader` and `values` check
one value at a time.
"""

from paastis.config.accounts import AccountConfig
from paastis.config.loading import load_config, read_config
from paastis.config.options import (
    ClusterConfig,
    Config,
    ControllerConfig,
    HookConfig,
    ProxyConfig,
    SystemConfig,
)

__all__ = [
    "AccountConfig",
    "ClusterConfig",
    "Config",
    "ControllerConfig",
    "HookConfig",
    "ProxyConfig",
    "SystemConfig",
    "load_config",
    "read_config",
]
