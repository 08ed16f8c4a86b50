"""Common parts of the stand-in's services: access to the state, and errors in the words of the cloud."""

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from tests.cloud.state import Cloud, Resource


class CloudError(Exception):
    """An answer of the cloud with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def error_answer(_: Request, error: Exception) -> JSONResponse:
    """Body that the clients of all services can read."""
    assert isinstance(error, CloudError)
    details = {"code": error.status, "message": error.message, "title": "Error", "type": "Error", "detail": ""}
    body = {"error": details, "error_code": error.status, "error_message": error.message, "NeutronError": details}
    return JSONResponse(body, error.status)


def cloud_of(request: Request) -> Cloud:
    return cast(Cloud, request.app.state.cloud)


def user_of(request: Request) -> str:
    return cloud_of(request).tokens[request.headers["x-auth-token"]]


def found(resources: dict[str, Resource], key: str, kind: str) -> Resource:
    """Resource of an id.

    Raises:
        CloudError: there is none.
    """
    if key not in resources:
        raise CloudError(404, f"{kind} {key} could not be found.")
    return resources[key]


CloudState = Annotated[Cloud, Depends(cloud_of)]
User = Annotated[str, Depends(user_of)]
