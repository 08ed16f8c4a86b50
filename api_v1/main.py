"""Entry point: `uvicorn api_v1.main:app`."""

from fastapi import FastAPI

from api_v1.app import create_app
from api_v1.logs import configure_api_logging
from api_v1.settings import ApiSettings
from gourmetgram.errors import SettingsError


def build() -> FastAPI:
    """The application as the environment describes it."""
    try:
        settings = ApiSettings.load()
    except SettingsError as error:
        # One sentence instead of uvicorn's trace of its import.
        raise SystemExit(f"api_v1 cannot start: {error}") from None
    configure_api_logging(settings.log_level)
    return create_app(settings)


app = build()
