#!/usr/bin/env bash
# Airflow's one-shot set-up: metadata tables, the lab's login, the connections that the DAGs use.
# Safe to run again: existing things are brought up to date, and every failure ends it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# Half a minute of work, which each `docker compose up` would repeat: the database remembers what was set up.
if python "$here/setup_note.py" check; then
    echo "Airflow is set up already: nothing to do."
    exit 0
fi

airflow db migrate

password="${AIRFLOW_ADMIN_PASSWORD:-gourmetgram_airflow}"
said="$(airflow users create --username admin --password "$password" \
    --firstname Admin --lastname User --role Admin --email admin@example.com)"
echo "$said"
# An account of an earlier start keeps its password unless it is set again.
if [[ $said != *'User "admin" created'* ]]; then
    airflow users reset-password --username admin --password "$password"
fi

connections="$(mktemp --suffix=.json)"
trap 'rm -f "$connections"' EXIT
python - >"$connections" <<'PYTHON'
import json
import os

environment = os.environ
print(json.dumps({
    "gourmetgram_postgres": environment["DATABASE_URL"],
    "gourmetgram_minio": {
        "conn_type": "aws",
        "login": environment["PYICEBERG_CATALOG__GOURMETGRAM__S3__ACCESS_KEY_ID"],
        "password": environment["PYICEBERG_CATALOG__GOURMETGRAM__S3__SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": environment["PYICEBERG_CATALOG__GOURMETGRAM__S3__ENDPOINT"]},
    },
}))
PYTHON
airflow connections import --overwrite "$connections"

python "$here/setup_note.py" write
