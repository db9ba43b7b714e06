"""The OpenAPI 3.1 description of the system API. A test holds it equal to the routes."""

from typing import Any

from paastis import __version__
from paastis.app import Phase

Json = dict[str, Any]

_TIME: Json = {"type": ["string", "null"], "format": "date-time"}
_TEXT: Json = {"type": "string"}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": "integer"}
_OBJECT_OR_NULL: Json = {"type": ["object", "null"]}
_CONDITIONS: Json = {"type": "array", "items": {"$ref": "#/components/schemas/Condition"}}
_SPAN: Json = {"type": "string", "examples": ["15m", "1h30m"]}
_TEXTS: Json = {"type": "array", "items": _TEXT}
_FORMATION: Json = {"type": "array", "items": {"$ref": "#/components/schemas/Process"}}


def openapi_document() -> Json:
    """The document, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "paastis system API",
            "version": __version__,
            "description": "What paastis knows about its apps, and two orders: wake and sleep.",
        },
        "security": [{"bearer": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _paths() -> Json:
    named = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    named["description"] = "The record's name, or the remote name if only one app has it."
    app = _json_answer("The app.", "App")
    return {
        "/healthz": {"get": _health("Whether the process should be left running.")},
        "/readyz": {"get": _health("Whether requests should come here.")},
        "/metrics": {
            "get": {
                "summary": "Metrics for Prometheus.",
                "security": [],
                "responses": {
                    "200": {"description": "All metrics.", "content": {"text/plain": {}}}
                },
            }
        },
        "/apps": {
            "get": _operation("All apps.", {"200": _list_answer("The apps.", "App")}),
            "delete": _operation(
                "Discover all apps again and forget what was learnt; snapshots are kept.",
                {"200": _json_answer("How many there were.", "Forgotten"), **_problems(502, 503)},
            ),
        },
        "/apps/{name}": {
            "parameters": [named],
            "get": _operation("One app.", {"200": app, **_problems(404, 409)}),
        },
        "/apps/{name}/wake": {
            "parameters": [named],
            "post": _operation(
                "Keep the app awake for one idle time from now.",
                {"202": app, **_problems(404, 409, 503)},
            ),
        },
        "/apps/{name}/sleep": {
            "parameters": [named],
            "post": _operation(
                "Put the app to sleep now, until somebody wakes it.",
                {"202": app, **_problems(404, 409, 503)},
            ),
        },
        "/accounts": {
            "get": _operation("All accounts.", {"200": _list_answer("The accounts.", "Account")})
        },
        "/events": {
            "get": _operation(
                "Every change from now on, as server-sent events of type `app`.",
                {
                    "200": {
                        "description": "The stream: data is an object with name, position, app.",
                        "content": {"text/event-stream": {}},
                    },
                    **_problems(503),
                },
            )
        },
        "/openapi.json": {
            "get": _operation(
                "This document.",
                {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {}}}},
            )
        },
    }


def _operation(summary: str, responses: Json) -> Json:
    return {"summary": summary, "responses": {**responses, **_problems(401)}}


def _health(summary: str) -> Json:
    return {
        "summary": summary,
        "security": [],
        "responses": {
            "200": _json_answer("Yes.", "Health"),
            "503": _json_answer("No.", "Health"),
        },
    }


def _json_answer(description: str, schema: str) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _list_answer(description: str, schema: str) -> Json:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": description, "content": {"application/json": {"schema": items}}}


_PROBLEMS = {
    401: "The token is missing or wrong.",
    404: "No app is called so.",
    409: "Several apps are called so, the policy outranks the order, or others write all the time.",
    502: "The provider did not answer as expected; try again later.",
    503: "Not now; try again later.",
}


def _problems(*statuses: int) -> Json:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        str(status): {
            "description": _PROBLEMS[status],
            "content": {"application/problem+json": schema},
        }
        for status in statuses
    }


def _schemas() -> Json:
    return {
        "App": _object(
            name=_TEXT,
            app_name=_TEXT,
            app_id=_TEXT,
            account=_TEXT,
            region=_TEXT,
            provider=_TEXT,
            phase={"enum": [phase.value for phase in Phase]},
            phase_since=_TIME,
            reason=_TEXT,
            cycle=_NUMBER,
            url=_TEXT_OR_NULL,
            hosts=_TEXTS,
            addresses=_TEXTS,
            created_at=_TIME,
            last_access_time=_TIME,
            last_activity=_OBJECT_OR_NULL,
            last_start_time=_TIME,
            last_stop_time=_TIME,
            sleeps_at=_TIME,
            max_idle_time=_SPAN,
            policy={"type": "object"},
            overrides={"type": "object"},
            formation=_FORMATION,
            snapshot=_OBJECT_OR_NULL,
            operation=_OBJECT_OR_NULL,
            retry={"type": "object"},
            conditions=_CONDITIONS,
            asleep_seconds={"type": "number"},
            usual_boot_seconds={"type": ["number", "null"]},
            decision={"$ref": "#/components/schemas/Decision"},
            version=_NUMBER,
        ),
        "Process": _object(type=_TEXT, amount=_NUMBER, size=_TEXT_OR_NULL),
        "Decision": _object(action=_TEXT, reason=_TEXT, message=_TEXT, look_again_at=_TIME),
        "Condition": _object(
            type=_TEXT, status={"type": "boolean"}, reason=_TEXT, message=_TEXT, since=_TIME
        ),
        "Account": _object(
            name=_TEXT,
            provider=_TEXT,
            mode=_TEXT,
            reachable={"type": ["boolean", "null"]},
            message=_TEXT,
            apps=_NUMBER,
            budget_left={"type": ["integer", "null"]},
            last_complete_listing=_TIME,
            conditions=_CONDITIONS,
        ),
        "Forgotten": _object(forgotten=_NUMBER),
        "Health": _object(status={"enum": ["ok", "failing"]}, message=_TEXT),
        "Problem": _object(type=_TEXT, title=_TEXT, status=_NUMBER, detail=_TEXT),
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": sorted(properties)}
