"""The application that `python -m api_v1` serves; `uvicorn api_v1.main:app` works, too."""

from fastapi import FastAPI

from api_v1.app import create_app
from api_v1.logs import configure_api_logging
from api_v1.server import end_with_supervisor, load_settings
from api_v1.settings import ApiSettings


def build() -> FastAPI:
    """The application as the environment describes it."""
    settings = load_settings("api_v1", ApiSettings)
    configure_api_logging(settings.log_level)
    end_with_supervisor()
    return create_app(settings)


app = build()
