"""Liveness, readiness and metrics of the service."""

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from api_v1.metrics import exposition
from api_v1.responses import json_response
from api_v1.schemas import Readiness
from api_v1.services import Services, services_of
from gourmetgram.errors import TransientError

router = APIRouter(tags=["system"])
bench_router = APIRouter(include_in_schema=False)

_CHECK_WAIT_S = 1.5


def add_health(app: FastAPI, services: Services) -> None:
    """Add `/health`, whose body depends on the API's version."""
    extension = services.extension

    @app.get("/health", tags=["system"], summary="Is the process alive?", response_model=extension.health_model)
    async def health() -> Response:
        """Answer from memory, whatever state the stores are in."""
        return json_response(extension.health())


@router.get(
    "/ready", summary="Can the stores be used?", response_model=Readiness, responses={503: {"model": Readiness}}
)
async def ready(request: Request) -> Response:
    """Ask every store now; 503 when one does not answer, or the database's tables are too old."""
    services = services_of(request)
    postgres, object_store = await asyncio.gather(
        _succeeds(services.schema.check()), _succeeds(services.objects.check())
    )
    checks = {"postgres": postgres, "object_store": object_store}
    checks.update((name, check()) for name, check in services.extension.checks.items())
    is_ready = all(checks.values())
    body = {"status": "ready" if is_ready else "not_ready", "checks": checks}
    return json_response(body, 200 if is_ready else 503)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics() -> Response:
    """Counters and histograms in Prometheus' text format."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)


@bench_router.get("/bench/noop")
async def noop() -> Response:
    """Touch nothing."""
    return json_response({"status": "ok"})


async def _succeeds(call: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_WAIT_S):
            await call
    except (TransientError, TimeoutError):
        return False
    return True
