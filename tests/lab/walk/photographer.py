"""Take a screenshot of one page of the lab: `photographer.py PAGE FILE LOGINS`. Runs in the browser's environment."""

import json
import subprocess
import sys
from collections.abc import Mapping

from playwright.sync_api import Page, Route, sync_playwright  # type: ignore[import-not-found]

HOST = "http://127.0.0.1"


def docs(page: Page, _logins: Mapping[str, str]) -> str:
    """Open the API's docs, drawn without a single request to another host."""
    api = f"{HOST}:8000/"
    others: list[str] = []

    def keep_inside(route: Route) -> None:
        if route.request.url.startswith(api):
            route.continue_()
        else:
            others.append(route.request.url)
            route.abort()

    page.route("**/*", keep_inside)
    page.goto(f"{api}docs")
    page.get_by_text("/images/{image_id}/view").first.wait_for()
    page.wait_for_load_state("networkidle")
    if others:
        sys.exit(f"the docs page asks other hosts: {', '.join(others)}")
    return f"{page.locator('.opblock').count()} endpoints, no other host asked"


def adminer(page: Page, logins: Mapping[str, str]) -> str:
    """Open the newest rows of `images`."""
    page.goto(f"{HOST}:5050/")
    page.select_option('select[name="auth[driver]"]', "pgsql")
    for field, variable in (("username", "POSTGRES_USER"), ("password", "POSTGRES_PASSWORD"), ("db", "POSTGRES_DB")):
        page.fill(f'input[name="auth[{field}]"]', logins[variable])
    page.click('input[type="submit"]')
    database = f"username={logins['POSTGRES_USER']}&db={logins['POSTGRES_DB']}"
    page.goto(f"{HOST}:5050/?pgsql=postgres&{database}&ns=public&select=images")
    page.locator("table#table").wait_for()
    return str(page.title())


def minio(page: Page, logins: Mapping[str, str]) -> str:
    """Open the object browser."""
    page.goto(f"{HOST}:9001/login")
    page.fill("#accessKey", logins["MINIO_ROOT_USER"])
    page.fill("#secretKey", logins["MINIO_ROOT_PASSWORD"])
    page.click("#do-login")
    page.get_by_text("gourmetgram-images").first.wait_for()
    page.get_by_role("button", name="Acknowledge").click()  # the licence, shown to each new browser
    return "gourmetgram-images is listed"


def airflow(page: Page, logins: Mapping[str, str]) -> str:
    """Open the aggregation's grid."""
    page.goto(f"{HOST}:8080/")
    page.fill('input[name="username"]', "admin")
    page.fill('input[name="password"]', logins["AIRFLOW_ADMIN_PASSWORD"])
    page.click('input[type="submit"], button[type="submit"]')
    page.get_by_text("Dags").first.wait_for()
    page.goto(f"{HOST}:8080/dags/redpanda_event_aggregation")
    page.get_by_text("consume_and_aggregate_events").first.wait_for()
    return "redpanda_event_aggregation with its tasks"


def jupyter(page: Page, _logins: Mapping[str, str]) -> str:
    """Open the file list with the token that `jupyter server list` shows."""
    command = ["docker", "exec", "jupyter", "jupyter", "server", "list", "--json"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page.goto(f"{HOST}:8888/tree?token={json.loads(listing.splitlines()[0])['token']}")
    page.get_by_text("training.ipynb").first.wait_for()
    return "training.ipynb is listed"


def main() -> None:
    """Open the page in headless Chromium, and keep its picture."""
    name, file, logins = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(40_000)
        seen = globals()[name](page, json.loads(logins))
        page.wait_for_load_state("networkidle")
        page.screenshot(path=file)
        browser.close()
    sys.stdout.write(f"{seen}\n")


if __name__ == "__main__":
    main()
