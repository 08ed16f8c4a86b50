"""The HTTP API as Markdown, from the OpenAPI description that api_v2 serves."""

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from api_v2.app import create_app
from api_v2.settings import ApiV2Settings

Description = dict[str, Any]
"""A part of an OpenAPI document."""

_ADDRESSES: Final = {
    "DATABASE_URL": "postgresql://user@postgres/gourmetgram",
    "S3_ENDPOINT_URL": "http://minio:9000",
    "AWS_ACCESS_KEY_ID": "unused",
    "AWS_SECRET_ACCESS_KEY": "unused",
}
"""Settings without which the application is not built; a description opens no connection."""

_LIMITS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "pattern `{}`",
    "default": "default `{}`",
}


def description() -> Description:
    """The OpenAPI document of api_v2."""
    return create_app(ApiV2Settings.load(_ADDRESSES)).openapi()


def page(document: Description) -> str:
    """Overview of all routes, then one section a route."""
    routes = [
        (f"{method.upper()} {path}", route)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    ]
    rows = [(f"`{name}`", route["summary"], ", ".join(sorted(route["responses"]))) for name, route in routes]
    overview = _table(("Route", "Purpose", "Statuses"), rows)
    return "\n\n".join([overview, *(_section(name, route, document) for name, route in routes)])


def _section(name: str, route: Description, document: Description) -> str:
    parts = [f"## {name}", f"**{route['summary']}**", route.get("description", "")]
    inputs = [*_parameters(route), *_body(route)]
    if inputs:
        parts.append(_table(("Input", "Where", "Type", "Meaning and limits"), inputs))
    answers = sorted(route["responses"].items())
    parts.append(_table(("Status", "Meaning", "Body"), [_answer(status, answer) for status, answer in answers]))
    fields = list(_answer_fields(route, document))
    if fields:
        parts.append(_table(("Field of the answer", "Type", "Meaning and limits"), fields))
    return "\n\n".join(part for part in parts if part)


def _parameters(route: Description) -> Iterator[tuple[str, ...]]:
    for each in route.get("parameters", []):
        yield _input(each["name"], each["in"], each.get("required", False), each["schema"])


def _body(route: Description) -> Iterator[tuple[str, ...]]:
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        where = "JSON body" if kind == "application/json" else "form"
        for name, field in schema["properties"].items():
            yield _input(name, where, name in schema.get("required", []), field)


def _input(name: str, where: str, required: bool, schema: Description) -> tuple[str, ...]:
    return f"`{name}`", where, _type(schema), "; ".join([*(["required"] if required else []), *_details(schema)])


def _answer(status: str, answer: Description) -> tuple[str, str, str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    phrase = HTTPStatus(int(status)).phrase
    # FastAPI's own words say no more than the status.
    meaning = "" if answer["description"] in ("Successful Response", phrase) else answer["description"]
    return f"{status} {phrase}", meaning, _type(schema) if schema else "text"


def _answer_fields(route: Description, document: Description) -> Iterator[tuple[str, ...]]:
    """Fields of the body of a success."""
    schema = route["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    yield from _fields(schema.get("items", schema), document, "")


def _fields(schema: Description, document: Description, prefix: str) -> Iterator[tuple[str, ...]]:
    """Fields of a named schema; those of a schema inside it have its name and a dot before theirs."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        for field, described in document["components"]["schemas"][name]["properties"].items():
            yield f"`{prefix}{field}`", _type(described), "; ".join(_details(described))
            yield from _fields(described, document, f"{prefix}{field}.")


def _type(schema: Description) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return str(schema.get("format") or schema.get("type", "any"))


def _details(schema: Description) -> Iterator[str]:
    """The meaning of a value, and its limits."""
    if "description" in schema:
        yield schema["description"].replace("\n", " ")
    for part in (schema, *schema.get("anyOf", [])):
        for key, words in _LIMITS.items():
            if part.get(key) is not None:
                yield words.format(_number(part[key]))


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table without the columns that are empty in every row."""
    rows = list(rows)
    filled = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line[number].replace("|", "\\|") for number in filled) + " |" for line in lines)
