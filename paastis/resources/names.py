"""The resources that paastis reads and writes, by their names in the API."""

from dataclasses import dataclass

GROUP = "paastis.io"
VERSION = "v1alpha1"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of namespaced resource. The core group's name is empty."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As in a manifest: `v1`, or `paastis.io/v1alpha1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


APPS = Resource(GROUP, VERSION, "paastisapps", "PaastisApp")
RULES = Resource(GROUP, VERSION, "paastisrules", "PaastisRule")
ACCOUNTS = Resource(GROUP, VERSION, "paastisaccounts", "PaastisAccount")

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
