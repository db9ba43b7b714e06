"""The OpenAPI document: equal to the routes, and to what they answer."""

import re
from typing import Any

import aiohttp

from paastis.app import Condition, Operation, OperationKind, Process
from paastis.reasons import Reason
from paastis.system.api import SystemApi
from paastis.system.openapi import openapi_document
from paastis.system.port import AccountStatus
from paastis.system.view import account_view, app_view
from tests.paastis.registry.contract import NOON, an_app
from tests.paastis.system.conftest import World

METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in openapi_document()["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_document_has_exactly_the_routes(api: SystemApi) -> None:
    assert set(operations()) == {(route.method, route.path) for route in api.routes}


def test_public_routes_are_those_without_security(api: SystemApi) -> None:
    public = {(route.method, route.path) for route in api.routes if route.public}
    assert public == {key for key, found in operations().items() if found.get("security") == []}


def test_every_path_parameter_is_described() -> None:
    for path, item in openapi_document()["paths"].items():
        named = [parameter["name"] for parameter in item.get("parameters", [])]
        assert named == re.findall(r"{(\w+)}", path)


def test_every_reference_leads_somewhere() -> None:
    document = openapi_document()

    def check(value: object) -> None:
        if isinstance(value, dict):
            if reference := value.get("$ref"):
                assert (
                    reference.removeprefix("#/components/schemas/")
                    in (document["components"]["schemas"])
                )
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(document)


def test_schemas_name_exactly_what_is_shown(world: World) -> None:
    schemas = openapi_document()["components"]["schemas"]
    condition = Condition("Drained", True, Reason.IDLE, "It is.", NOON)
    app = app_view(
        an_app(
            conditions=(condition,),
            formation=(Process("web", 1),),
            operation=Operation(OperationKind.STOP, "1", NOON),
        ),
        world.instance(),
    )
    account = account_view(AccountStatus("main", "scalingo", "Manage", reachable=True))
    assert set(schemas["App"]["properties"]) == set(app)
    assert set(schemas["Decision"]["properties"]) == set(app["decision"])
    assert set(schemas["Condition"]["properties"]) == set(app["conditions"][0])
    assert set(schemas["Process"]["properties"]) == set(app["formation"][0])
    assert set(schemas["Account"]["properties"]) == set(account)


async def test_document_is_served(client: aiohttp.ClientSession) -> None:
    async with client.get("/openapi.json") as response:
        assert await response.json() == openapi_document()
