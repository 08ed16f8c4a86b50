"""The lab's pages, used as a browser uses them: forms, sessions, the calls behind the buttons."""

import re

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.lab.expectations import NotSeenError, expect
from tests.lab.lab import Lab

HOST = "http://127.0.0.1"
_TIMEOUT_S = 20

# A container runs a moment before its server listens: a person reloads the page.
_reloading = retry(
    retry=retry_if_exception_type(httpx.NetworkError), stop=stop_after_delay(10), wait=wait_fixed(0.5), reraise=True
)


def get(address: str) -> httpx.Response:
    """Open a page.

    Args:
        address: port and path, as `8000/docs`.

    Raises:
        NotSeenError: the answer is not 200.
    """
    url = f"{HOST}:{address}"
    try:
        response = _reloading(httpx.get)(url, timeout=_TIMEOUT_S, follow_redirects=True)
    except httpx.HTTPError as error:
        raise NotSeenError(f"{url}: {error}") from error
    expect(response.status_code == 200, f"{url} answered {response.status_code}")
    return response


def adminer_tables(lab: Lab, tables: tuple[str, ...], database: str = "gourmetgram") -> dict[str, str]:
    """Log in to Adminer, then "Show structure" and "Select data" of each table.

    Returns:
        By table, the page of its data, without markup.

    Raises:
        NotSeenError: the login or a page fails.
    """
    user = lab.settings.postgres_user
    login = {"driver": "pgsql", "server": "postgres", "username": user, "db": database}
    login["password"] = lab.settings.postgres_password
    place = f"/?pgsql=postgres&username={user}&db={database}&ns=public"
    seen = {}
    with httpx.Client(base_url=f"{HOST}:5050", timeout=_TIMEOUT_S, follow_redirects=True) as client:
        form = _reloading(client.get)("/").text
        expect('value="postgres"' in form, "Adminer's form does not propose the server postgres")
        page = client.post("/", data={f"auth[{name}]": value for name, value in login.items()}).text
        expect("Invalid credentials" not in page and "Logout" in page, "Adminer's login failed")
        for table in tables:
            expect("<th>Column" in client.get(f"{place}&table={table}").text, f"Adminer shows no structure of {table}")
            data = client.get(f"{place}&select={table}").text
            expect("No rows." in data or "<table" in data, f"Adminer shows no data of {table}")
            seen[table] = re.sub(r"<[^>]+>", " ", data)
    return seen


def minio_buckets(lab: Lab) -> list[str]:
    """Log in to MinIO's console and list the buckets, with the calls of its pages.

    Raises:
        NotSeenError: the login or the list fails.
    """
    login = {"accessKey": lab.settings.minio_root_user, "secretKey": lab.settings.minio_root_password}
    with httpx.Client(base_url=f"{HOST}:9001", timeout=_TIMEOUT_S) as client:
        answer = _reloading(client.post)("/api/v1/login", json=login)
        expect(answer.status_code == 204, f"the console's login answered {answer.status_code}")
        buckets = client.get("/api/v1/buckets")
        expect(buckets.status_code == 200, f"the console's list of buckets answered {buckets.status_code}")
        return [bucket["name"] for bucket in buckets.json()["buckets"]]
