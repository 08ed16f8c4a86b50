"""Take a screenshot of one page of the lab: `photographer.py PAGE FILE LOGINS`. Runs in the browser's environment."""

import json
import subprocess
import sys

from playwright.sync_api import Page, Route, sync_playwright  # type: ignore[import-not-found]

HOST = "http://127.0.0.1"


def docs(page: Page, _logins: dict[str, list[str]]) -> str:
    """The API's docs page, drawn without a single request to another host."""
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


def adminer(page: Page, logins: dict[str, list[str]]) -> str:
    """The newest rows of `images`."""
    user, password = logins["postgres"]
    page.goto(f"{HOST}:5050/")
    page.select_option('select[name="auth[driver]"]', "pgsql")
    page.fill('input[name="auth[username]"]', user)
    page.fill('input[name="auth[password]"]', password)
    page.fill('input[name="auth[db]"]', "gourmetgram")
    page.click('input[type="submit"]')
    page.goto(f"{HOST}:5050/?pgsql=postgres&username={user}&db=gourmetgram&ns=public&select=images")
    page.locator("table#table").wait_for()
    return str(page.title())


def minio(page: Page, logins: dict[str, list[str]]) -> str:
    """The object browser."""
    user, password = logins["minio"]
    page.goto(f"{HOST}:9001/login")
    page.fill("#accessKey", user)
    page.fill("#secretKey", password)
    page.click("#do-login")
    page.get_by_text("gourmetgram-images").first.wait_for()
    page.get_by_role("button", name="Acknowledge").click()  # the licence, shown to each new browser
    return "gourmetgram-images is listed"


def airflow(page: Page, logins: dict[str, list[str]]) -> str:
    """The aggregation's grid."""
    user, password = logins["airflow"]
    page.goto(f"{HOST}:8080/")
    page.fill('input[name="username"]', user)
    page.fill('input[name="password"]', password)
    page.click('input[type="submit"], button[type="submit"]')
    page.get_by_text("Dags").first.wait_for()
    page.goto(f"{HOST}:8080/dags/redpanda_event_aggregation")
    page.get_by_text("consume_and_aggregate_events").first.wait_for()
    return "redpanda_event_aggregation with its tasks"


def jupyter(page: Page, _logins: dict[str, list[str]]) -> str:
    """The file list, opened with the token that `jupyter server list` shows."""
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
