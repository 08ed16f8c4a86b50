"""Version 2: the application of version 1, and its event side."""

from fastapi import FastAPI

from api_v1.app import create_app as create_app_v1
from api_v1.services import Extension
from api_v2.outbox import event_sql
from api_v2.relay import Relay
from api_v2.schemas import HealthV2
from api_v2.settings import ApiV2Settings
from gourmetgram.database.pool import Database


def create_app(settings: ApiV2Settings) -> FastAPI:
    """Build the application: each row brings an event into the outbox, and a relay publishes the outbox."""
    database = Database(settings, "api_v2")
    relay = Relay(database, settings)
    extension = Extension(
        event_sql=event_sql(settings),
        on_commit=relay.wake,
        background=(relay,),
        health=relay.health,
        health_model=HealthV2,
        checks={"kafka": relay.connected},
    )
    return create_app_v1(settings, database, extension)
