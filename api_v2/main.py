"""The application that `python -m api_v2` serves; `uvicorn api_v2.main:app` works, too."""

from fastapi import FastAPI

from api_v1.logs import configure_api_logging
from api_v1.server import end_with_supervisor, load_settings
from api_v2.app import create_app
from api_v2.settings import ApiV2Settings


def build() -> FastAPI:
    """The application as the environment describes it."""
    settings = load_settings("api_v2", ApiV2Settings)
    configure_api_logging(settings.log_level)
    end_with_supervisor()
    return create_app(settings)


app = build()
