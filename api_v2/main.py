"""Entry point: `uvicorn api_v2.main:app`."""

from fastapi import FastAPI

from api_v1.logs import configure_api_logging
from api_v2.app import create_app
from api_v2.settings import ApiV2Settings
from gourmetgram.errors import SettingsError


def build() -> FastAPI:
    """The application as the environment describes it."""
    try:
        settings = ApiV2Settings.load()
    except SettingsError as error:
        raise SystemExit(f"api_v2 cannot start: {error}") from None
    configure_api_logging(settings.log_level)
    return create_app(settings)


app = build()
