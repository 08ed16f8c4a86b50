"""Users."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_v1.body import read_json
from api_v1.documentation import answers, json_body
from api_v1.idempotency import keyed, once
from api_v1.keyed_writes import Writes
from api_v1.responses import record_response
from api_v1.schemas import UserIn, UserOut
from api_v1.services import Services, services_of
from gourmetgram.database.pool import DatabaseRow, deadline_after
from gourmetgram.errors import OutcomeUnknownError, TransientError

router = APIRouter(tags=["users"])

_BY_NAME = """
SELECT id::text AS id, username, tos_version_accepted, tos_accepted_at, country_of_residence, year_of_birth,
       is_test_account, created_at
FROM users WHERE username = $1
"""
_MAX_KNOWN_USERS = 50_000
_BY_ID = "SELECT FROM users WHERE id = $1"


@router.post(
    "/users/",
    summary="Create a user",
    response_model=UserOut,
    responses=answers(409, 413, 422, 503),
    openapi_extra=keyed(json_body(UserIn, UserIn.example())),
)
async def create_user(request: Request) -> Response:
    """A name that exists already gives the stored user, unchanged."""
    user = await read_json(request, UserIn)
    row = (
        user.username,
        user.tos_version_accepted,
        user.tos_accepted_at,
        user.country_of_residence,
        user.year_of_birth,
        user.is_test_account,
    )
    services, deadline = services_of(request), deadline_after()

    async def write(writes: Writes) -> Response:
        stored = await _find(writes, user.username, deadline)
        if stored is None:
            await writes.submit(services.users, row, deadline)
            try:
                stored = await _find(writes, user.username, deadline)
            except TransientError as error:
                raise OutcomeUnknownError(f"a user was created but not read: {error}") from error
        if stored is None:
            raise TransientError("a user was deleted while it was created")
        return record_response(stored)

    return await once(request, services, write)


async def user_existed(services: Services, user_id: str, deadline: float) -> bool:
    """True if a user with this id exists, or existed at an earlier request: found users are remembered.

    Good enough to refuse work for unknown users; the statement that inserts the row checks the user again.
    """
    known = services.known_users
    if user_id in known:
        return True
    if not await services.database.fetch(_BY_ID, user_id, deadline=deadline):
        return False
    if len(known) >= _MAX_KNOWN_USERS:
        known.clear()
    known.add(user_id)
    return True


async def _find(writes: Writes, username: str, deadline: float) -> DatabaseRow | None:
    rows = await writes.fetch(_BY_NAME, username, deadline=deadline)
    return rows[0] if rows else None
