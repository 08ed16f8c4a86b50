"""The application: the only place where its parts are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from api_v1 import documentation
from api_v1.errors import add_error_handlers
from api_v1.middleware import BodyLimit, Observe
from api_v1.routes import comments, flags, images, system, uploads, users
from api_v1.services import Extension, Services
from api_v1.settings import ApiSettings
from api_v1.upload_form import FORM_OVERHEAD_BYTES
from gourmetgram.collector import freeze_heap
from gourmetgram.database.pool import Database

UPLOAD_PATH: Final = "/upload/"


def create_app(settings: ApiSettings, database: Database | None = None, extension: Extension | None = None) -> FastAPI:
    """Build the application. It connects to no store before it is served.

    Args:
        settings: stores and limits.
        database: shared with the extension when there is one.
        extension: additions of a later version.
    """
    services = Services(settings, database or Database(settings, "api_v1"), extension or Extension())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await services.start()
        freeze_heap()
        try:
            yield
        finally:
            await services.stop()

    # The docs page and its description have routes of their own (documentation.py).
    app = FastAPI(title="GourmetGram API", version="1.0.0", lifespan=lifespan, openapi_url=None)
    app.state.services = services
    add_error_handlers(app)
    system.add_health(app, services)
    for module in (system, users, images, uploads, comments, flags, documentation):
        app.include_router(module.router)
    app.mount(documentation.FILES_PATH, documentation.page_files())
    if settings.enable_bench_route:
        app.include_router(system.bench_router)
    app.add_middleware(BodyLimit, limits={UPLOAD_PATH: settings.max_upload_bytes + FORM_OVERHEAD_BYTES})
    app.add_middleware(Observe)
    return app
