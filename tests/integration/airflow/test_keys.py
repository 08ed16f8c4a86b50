"""Values that an earlier version encrypted with the published key, read by the real Airflow afterwards."""

import subprocess
from pathlib import Path

from gourmetgram.settings import PROJECT_ROOT, process_environment
from gourmetgram_tools.local.airflow import ENVIRONMENT

_FORMER = "Z291cm1ldGdyYW0gbGFiOiBub3QgYSBzZWNyZXQga2U="
_BEFORE = """
import init
init.airflow("db", "migrate")
init.airflow("variables", "set", "checkpoint", "kept")
"""
_AFTER = """
import os
from pathlib import Path
import init, keys
folder = Path(os.environ[keys.FOLDER])
keys.make(folder, os.environ)
init.rotate_keys(init.airflow, folder)
"""
_READ = """
import init
from airflow.configuration import conf
init.airflow("variables", "get", "checkpoint")
print(conf.get("api_auth", "jwt_secret"), conf.get("api", "secret_key"), conf.get("core", "fernet_key"))
"""


def test_an_older_database_is_readable_with_its_new_key_only(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()

    def run(code: str, **variables: str) -> list[str]:
        done = subprocess.run(
            [str(ENVIRONMENT / "bin" / "python"), "-W", "ignore", "-c", code],
            env={
                **process_environment(),
                "PYTHONPATH": f"{PROJECT_ROOT}:{PROJECT_ROOT / 'airflow'}",
                "AIRFLOW_HOME": str(tmp_path),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run(_BEFORE, AIRFLOW__CORE__FERNET_KEY=_FORMER)
    run(_AFTER, AIRFLOW_SECRETS_FOLDER=str(keys), AIRFLOW__CORE__FERNET_KEY_CMD=f"cat {keys}/fernet_key")
    *_, value, used = run(
        _READ,
        AIRFLOW__CORE__FERNET_KEY_CMD=f"cat {keys}/fernet_key",
        AIRFLOW__API__SECRET_KEY_CMD=f"cat {keys}/api_secret_key",
        AIRFLOW__API_AUTH__JWT_SECRET_CMD=f"cat {keys}/jwt_secret",
    )
    assert value == "kept"
    assert used.split() == [(keys / name).read_text() for name in ("jwt_secret", "api_secret_key", "fernet_key")]
    assert _FORMER not in used
