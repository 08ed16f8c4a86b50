"""Take a screenshot of one page of the lab: `photographer.py PAGE FILE LOGINS`. Runs in the browser's environment."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page, Route, sync_playwright  # type: ignore[import-not-found]

HOST = "http://127.0.0.1"
MLFLOW = f"{HOST}:5000"
EXPERIMENT = "/Shared/gourmetgram-moderation-basic"
REGISTERED = "gourmetgram_dev.moderation.moderation_model_basic"


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


def mlflow_experiment(page: Page, _logins: Mapping[str, str]) -> str:
    """Open the runs of the moderation project's experiment, with a column of F1 scores."""
    experiment, _run = _newest_run()
    _open_for_training(page, f"/#/experiments/{experiment}/runs")
    page.get_by_role("button", name="Columns").click()
    for column in ("Source", "f1_score"):
        page.get_by_role("dialog").or_(page.locator("[role=tree]")).get_by_text(column, exact=True).first.click()
    page.keyboard.press("Escape")
    page.get_by_role("columnheader", name="f1_score").first.wait_for()
    return f"runs of {EXPERIMENT} with their F1 scores"


def mlflow_run(page: Page, _logins: Mapping[str, str]) -> str:
    """Open the newest run: metrics, parameters, datasets, tags, the registered version."""
    experiment, run = _newest_run()
    _open_for_training(page, f"/#/experiments/{experiment}/runs/{run}")
    for text in ("f1_score", "Datasets", "git_sha", REGISTERED):
        page.get_by_text(text).first.wait_for()
    return f"run {run} with metrics, datasets, tags"


def mlflow_model(page: Page, _logins: Mapping[str, str]) -> str:
    """Open the registered model with its versions and the alias."""
    _open_for_training(page, f"/#/models/{REGISTERED}")
    page.get_by_text("latest-model").first.wait_for()
    return f"{REGISTERED} with the alias latest-model"


def _newest_run() -> tuple[str, str]:
    """Ids of the moderation project's experiment and of its newest run."""
    found = _mlflow(f"experiments/get-by-name?experiment_name={EXPERIMENT}")
    experiment = found["experiment"]["experiment_id"]
    runs = _mlflow("runs/search", {"experiment_ids": [experiment], "max_results": 1})["runs"]
    return experiment, runs[0]["info"]["run_id"]


def _mlflow(path: str, body: Mapping[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{MLFLOW}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - the address above
        return json.load(answer)


def _open_for_training(page: Page, path: str) -> None:
    """Open a page in the view for training, without the chat window that a new browser shows."""
    page.goto(f"{MLFLOW}{path}")
    page.get_by_role("button", name="Model training").click()
    page.locator('[data-component-id="mlflow.assistant.chat_panel.close"]').click()
    page.goto(f"{MLFLOW}{path}")


def main() -> None:
    """Open the page in headless Chromium, and keep its picture."""
    name, file, logins = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(40_000)
        seen = globals()[name](page, json.loads(logins))
        if not name.startswith("mlflow_"):  # its pages ask again and again
            page.wait_for_load_state("networkidle")
        page.screenshot(path=file)
        browser.close()
    sys.stdout.write(f"{seen}\n")


if __name__ == "__main__":
    main()
