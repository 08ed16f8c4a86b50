#!/bin/sh
# `init` sets Airflow up once; everything else is a command of Airflow: api-server, scheduler, dag-processor ...
set -eu
if [ "${1:-}" = init ]; then
    exec python /opt/setup/init.py
fi
exec airflow "$@"
