"""The controller's view of the records: the mirror, never older than its own last writes."""

from collections.abc import Mapping

from paastis.app import App, AppChange
from paastis.registry.port import Registry


class Records:
    """Reads and writes records; writes nothing where nothing changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._written: dict[str, App] = {}

    def all(self) -> Mapping[str, App]:
        """The mirror as it is."""
        return self._registry.apps()

    def newest(self) -> dict[str, App]:
        """A copy of all records, each in the newest state known."""
        newest = dict(self._registry.apps())
        for name in tuple(self._written):
            app = self.get(name)
            if app is not None:
                newest[name] = app
        return newest

    def get(self, name: str) -> App | None:
        """The newest state known: a mirror may lag behind what we wrote ourselves."""
        mirrored = self._registry.apps().get(name)
        written = self._written.get(name)
        if written is None:
            return mirrored
        if mirrored is None or mirrored.version >= written.version:
            del self._written[name]
            return mirrored
        return written

    async def write(self, app: App, change: AppChange) -> App:
        """Replace fields of the record that `app` was read from.

        Raises `Conflict`, `UnknownApp`, `RegistryUnavailable`.
        """
        if all(getattr(app, key) == value for key, value in change.items()):
            return app
        written = await self._registry.update(app.name, change, seen_version=app.version)
        self._written[app.name] = written
        return written

    async def create(self, app: App) -> App:
        """Add a record. Raises `Conflict`, `RegistryUnavailable`."""
        return await self._registry.create(app)

    async def remove(self, app: App) -> None:
        """Forget a record. Raises `Conflict`, `RegistryUnavailable`."""
        await self._registry.remove(app.name, seen_version=app.version)
        self._written.pop(app.name, None)
