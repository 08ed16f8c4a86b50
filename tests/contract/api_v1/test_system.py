"""Health, readiness, metrics, the description, request ids and log lines."""

import asyncio
import json
import logging
import re
from typing import Any

import pytest

from tests.support.api import Api, picture
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.servers


async def test_health_has_the_fields_of_its_version(api: Api) -> None:
    if api.version == 1:
        assert (await api.http.get("/health")).json() == {"status": "healthy"}
        return

    async def connected() -> Any:
        body = (await api.http.get("/health")).json()
        return body if body["kafka_enabled"] else None

    body = await wait_until_async(connected, what="the relay's connection")
    assert body["status"] == "healthy"
    assert set(body) == {"status", "kafka_enabled", "kafka_stats"}
    assert set(body["kafka_stats"]) == {"enabled", "total_events", "events_by_topic", "outbox_pending"}
    assert body["kafka_stats"]["enabled"] is True


async def test_ready_names_every_store(api: Api) -> None:
    expected = {"postgres", "object_store"} | ({"kafka"} if api.version == 2 else set())

    async def ready() -> Any:
        answer = await api.http.get("/ready")
        return answer if answer.status_code == 200 else None

    answer = await wait_until_async(ready, what="readiness")
    assert answer.json() == {"status": "ready", "checks": dict.fromkeys(expected, True)}


async def test_metrics_count_requests_by_route_and_not_by_path(api: Api) -> None:
    image_id = await api.image()
    await api.view(image_id)
    await api.http.get("/nothing/" + "x" * 50)
    answer = await api.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert re.search(
        r'gourmetgram_http_requests_total{method="POST",route="/images/{image_id}/view",status="200"} \d', answer.text
    )
    assert 'route="unmatched",status="404"' in answer.text
    assert image_id not in answer.text
    assert "xxxx" not in answer.text


async def test_the_docs_page_and_its_description_are_served(api: Api) -> None:
    docs = await api.http.get("/docs")
    assert docs.status_code == 200
    assert "openapi.json" in docs.text
    description = (await api.http.get("/openapi.json")).json()
    assert description["info"]["title"] == "GourmetGram API"
    paths = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}
    assert paths == {
        "GET /health",
        "GET /ready",
        "GET /metrics",
        "GET /images/",
        "GET /images/{image_id}/comments",
        "POST /users/",
        "POST /upload/",
        "POST /images/{image_id}/view",
        "POST /comments/",
        "POST /flags/",
    }
    for methods in description["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["tags"]


async def test_the_docs_page_needs_no_other_host(api: Api) -> None:
    page = (await api.http.get("/docs")).text
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert len(addresses) == 3
    for address in addresses:
        assert "//" not in address
        answer = await api.http.get(f"/{address}")
        assert (answer.status_code, len(answer.content) > 500) == (200, True), address
    assert "http://" not in page and "https://" not in page
    assert '"validatorUrl": null' in page
    # No second page with a script of its own.
    assert (await api.http.get("/redoc")).status_code == 404


async def test_every_example_of_the_description_works_when_it_is_executed(api: Api) -> None:
    await api.image()
    description = (await api.http.get("/openapi.json")).json()
    executed = 0
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            answer = await _execute(api, method, path, operation)
            assert answer.status_code == 200, (path, answer.text)
            executed += 1
    assert executed == 10


async def _execute(api: Api, method: str, path: str, operation: dict[str, Any]) -> Any:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            (example,) = parameter["examples"].values()
            path = path.replace("{" + parameter["name"] + "}", example["value"])
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        return await api.http.request(method, path, json=content["application/json"]["example"])
    if "multipart/form-data" in content:
        fields = content["multipart/form-data"]["schema"]["example"]
        return await api.http.request(method, path, data=fields, files={"file": ("x.jpg", picture())})
    return await api.http.request(method, path)


async def test_a_sane_request_id_is_returned_and_any_other_is_replaced(api: Api) -> None:
    answer = await api.http.get("/health", headers={"X-Request-ID": "abc-123_X.y"})
    assert answer.headers["x-request-id"] == "abc-123_X.y"
    for bad in (b"x" * 65, b"a b", b'a"b', "ünicode".encode(), b""):
        answer = await api.http.get("/health", headers={b"X-Request-ID": bad})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert "x-request-id" in (await api.http.get("/nowhere")).headers


async def test_each_request_is_one_log_line_whose_client_text_is_escaped(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="gourmetgram.requests"):
        await api.http.get("/nowhere%0A%7B%22forged%22%3A1%7D%1b[31m", headers={"X-Request-ID": "line-test"})
    lines = [record.getMessage() for record in caplog.records if record.name == "gourmetgram.requests"]
    (line,) = [line for line in lines if "line-test" in line]
    assert line.isprintable()
    fields = json.loads(line)
    assert (fields["request_id"], fields["method"], fields["status"]) == ("line-test", "GET", 404)
    assert fields["path"] == '/nowhere\n{"forged":1}\x1b[31m'
    assert fields["ms"] >= 0
    assert fields["client"] == "127.0.0.1"


async def test_health_answers_while_many_requests_are_under_way(api: Api) -> None:
    image_id = await api.image()
    views = [asyncio.create_task(api.view(image_id)) for _ in range(50)]
    assert (await api.http.get("/health")).status_code == 200
    await asyncio.gather(*views)


async def test_unknown_paths_and_methods_get_a_sentence(api: Api) -> None:
    assert (await api.http.get("/nowhere")).json() == {"detail": "There is no such path."}
    answer = await api.http.delete("/users/")
    assert (answer.status_code, answer.json()["detail"][-1]) == (405, ".")


async def test_the_bench_route_is_off_by_default(api: Api) -> None:
    assert (await api.http.get("/bench/noop")).status_code == 404
