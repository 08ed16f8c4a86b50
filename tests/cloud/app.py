"""All services behind one address, and the server that answers there."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request, Response

from tests.cloud import blazar, glance, keystone, neutron, nova
from tests.cloud.http import CloudError, CloudState, cloud_of, error_answer
from tests.cloud.state import SITE, Cloud, Resource
from tests.support.waiting import wait_until

_OPEN = ("/sites.json", "/site:5000/v3/auth/tokens")
_VERSIONS = ("/site:5000/v3", "/compute", "/compute/v2.1", "/network", "/image")
"""Paths that are answered without a token."""


def make_app(cloud: Cloud) -> FastAPI:
    """Application over a state that the caller keeps."""
    app = FastAPI()
    app.state.cloud = cloud
    app.add_exception_handler(CloudError, error_answer)
    app.middleware("http")(_check_token)
    app.get("/sites.json")(sites)
    for service in (keystone, blazar, nova, neutron, glance):
        app.include_router(service.router)
    return app


def sites(cloud: CloudState) -> Resource:
    """Chameleon's resource API. python-chi appends ":5000/v3" to `web`; here that is part of the path."""
    site = {"name": SITE, "web": f"{cloud.address}/site", "location": "here", "site_class": "kvm"}
    return {"items": [{**site, "user_support_contact": "the course's staff"}]}


async def _check_token(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    cloud, path = cloud_of(request), request.url.path
    cloud.requests.append(f"{request.method} {path}")
    public = path in _OPEN or path.rstrip("/") in _VERSIONS
    if not public and request.headers.get("x-auth-token") not in cloud.tokens:
        return error_answer(request, keystone.UNAUTHORIZED)
    return await call_next(request)


@contextmanager
def serving(cloud: Cloud) -> Iterator[None]:
    """Serve on a free port of the loopback address, which is entered into the state."""
    server = uvicorn.Server(uvicorn.Config(make_app(cloud), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, what="the start of the stand-in")
        cloud.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield
    finally:
        server.should_exit = True
        thread.join()
