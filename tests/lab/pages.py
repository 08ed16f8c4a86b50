"""The lab's pages, used as a browser uses them: forms, sessions, the calls behind the buttons."""

import re

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.lab.errors import NotSeenError, expect
from tests.lab.lab import Lab

HOST = "127.0.0.1"
API = f"http://{HOST}:8000"
ADMINER = f"http://{HOST}:5050"
MINIO_CONSOLE = f"http://{HOST}:9001"
AIRFLOW = f"http://{HOST}:8080"
JUPYTER = f"http://{HOST}:8888"
_TIMEOUT_S = 20


# A container runs a moment before the server in it listens: a person reloads the page.
_reloading = retry(
    retry=retry_if_exception_type(httpx.NetworkError), stop=stop_after_delay(10), wait=wait_fixed(0.5), reraise=True
)


def get(url: str) -> httpx.Response:
    """Open a page.

    Raises:
        NotSeenError: it does not answer with 200.
    """
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
    login = {
        "auth[driver]": "pgsql",
        "auth[server]": "postgres",
        "auth[username]": lab.variable("POSTGRES_USER"),
        "auth[password]": lab.variable("POSTGRES_PASSWORD"),
        "auth[db]": database,
    }
    seen = {}
    try:
        with httpx.Client(base_url=ADMINER, timeout=_TIMEOUT_S, follow_redirects=True) as client:
            form = _reloading(client.get)("/").text
            expect('value="postgres"' in form, "Adminer's form does not propose the server postgres")
            page = client.post("/", data=login)
            expect("Invalid credentials" not in page.text and "Logout" in page.text, "Adminer's login failed")
            place = f"/?pgsql=postgres&username={login['auth[username]']}&db={database}&ns=public"
            for table in tables:
                structure = client.get(f"{place}&table={table}").text
                expect("<th>Column" in structure, f"Adminer shows no structure of {table}")
                data = client.get(f"{place}&select={table}").text
                expect("No rows." in data or "<table" in data, f"Adminer shows no data of {table}")
                seen[table] = re.sub(r"<[^>]+>", " ", data)
    except httpx.HTTPError as error:
        raise NotSeenError(f"Adminer: {error}") from error
    return seen


def minio_buckets(lab: Lab) -> list[str]:
    """Log in to MinIO's console and list the buckets, with the calls of its pages.

    Raises:
        NotSeenError: the login or the list fails.
    """
    login = {"accessKey": lab.variable("MINIO_ROOT_USER"), "secretKey": lab.variable("MINIO_ROOT_PASSWORD")}
    try:
        with httpx.Client(base_url=MINIO_CONSOLE, timeout=_TIMEOUT_S) as client:
            answer = client.post("/api/v1/login", json=login)
            expect(answer.status_code == 204, f"the console's login answered {answer.status_code}")
            buckets = client.get("/api/v1/buckets")
            expect(buckets.status_code == 200, f"the console's list of buckets answered {buckets.status_code}")
            return [bucket["name"] for bucket in buckets.json()["buckets"]]
    except httpx.HTTPError as error:
        raise NotSeenError(f"MinIO's console: {error}") from error
