"""Requests made from the OpenAPI description, valid ones and others: never a 5xx, and each answer is as described.

`make fuzz` makes many more of them, with new random numbers each time.
"""

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api_v1.app import create_app as create_v1
from api_v1.settings import ApiSettings
from api_v2.app import create_app as create_v2
from api_v2.settings import ApiV2Settings
from tests.support.api import Api, picture

pytestmark = pytest.mark.servers

MANY: Final = settings.get_current_profile_name() == "many"
EXAMPLES: Final = 1_000 if MANY else 25
"""Requests per operation, mode and version."""

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_OPERATIONS: Final = (
    *("GET /health", "GET /ready", "GET /metrics", "GET /images/", "GET /images/{image_id}/comments"),
    *("POST /users/", "POST /upload/", "POST /images/{image_id}/view", "POST /comments/", "POST /flags/"),
)
_STORES: Final = {
    "DATABASE_URL": "postgresql://nowhere/none",
    "S3_ENDPOINT_URL": "http://nowhere",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}

_CHARSETS: Final = ("utf-8", "undefined", "punycode", "idna", "utf-16", "unicode_escape", "rot13", "", '"', "\xe9")
_HEADER_TEXT: Final = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
_HEADERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "X-Request-ID": _HEADER_TEXT,
        "Idempotency-Key": _HEADER_TEXT,
        "Content-Type parameters": st.sampled_from(_CHARSETS).map(lambda charset: f"; charset={charset}")
        | _HEADER_TEXT.map(lambda text: f"; {text}"),
        "Accept": _HEADER_TEXT,
    },
)


@cache
def _description(version: int) -> dict[str, Any]:
    """The description without example ids: no server is asked."""
    app = create_v1(ApiSettings.load(_STORES)) if version == 1 else create_v2(ApiV2Settings.load(_STORES))
    return app.openapi()


@cache
def _schema(version: int) -> Any:
    return schemathesis.openapi.from_dict(_description(version))


@pytest.fixture(scope="module")
async def ids(api: Api) -> dict[str, str]:
    """Ids of rows that exist: with random ones, each request would end with 404."""
    user_id = await api.user()
    image_id = await api.image(user_id)
    comment = (await api.comment(image_id, user_id)).json()
    return {"user_id": user_id, "image_id": image_id, "comment_id": comment["id"]}


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """A client that keeps its connections."""
    with requests.Session() as opened:
        yield opened


def test_every_operation_of_both_versions_is_tried() -> None:
    for version in (1, 2):
        paths = _description(version)["paths"]
        assert {f"{method.upper()} {path}" for path in paths for method in paths[path]} == set(_OPERATIONS)


@pytest.mark.timeout(3_600 if MANY else 120)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", _OPERATIONS)
@settings(
    max_examples=EXAMPLES,
    derandomize=not MANY,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
async def test_no_request_is_answered_with_5xx_and_each_answer_is_as_described(
    api: Api, session: requests.Session, ids: dict[str, str], label: str, mode: GenerationMode, data: st.DataObject
) -> None:
    method, path = label.split()
    operation = _schema(api.version)[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        pytest.skip("has no input that could be wrong")
    case = data.draw(operation.as_strategy(generation_mode=mode))
    if data.draw(st.booleans()):
        _name_rows(case, ids)
    if label == "POST /upload/" and isinstance(case.body, dict) and data.draw(st.booleans()):
        case.body["file"] = picture()
    headers = data.draw(_HEADERS)
    parameters = headers.pop("Content-Type parameters", "")
    request = requests.Request(**case.as_transport_kwargs(base_url=str(api.http.base_url))).prepare()
    # Set afterwards: requests itself would refuse some of them.
    request.headers.update(headers)
    content_type = request.headers.get("Content-Type")
    if content_type is not None:
        text = content_type.decode() if isinstance(content_type, bytes) else content_type
        request.headers["Content-Type"] = text + parameters
    response = await asyncio.to_thread(session.send, request, timeout=30)
    case.validate_response(response, checks=CHECKS)


def _name_rows(case: Case[Any], ids: dict[str, str]) -> None:
    for values in (case.body, case.path_parameters):
        if isinstance(values, dict):
            values.update({name: known for name, known in ids.items() if name in values})
