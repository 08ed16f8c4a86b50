#!/bin/sh
# As the official image: JupyterLab on every address, options are the server's.
exec jupyter lab --ip=0.0.0.0 --port="${JUPYTER_PORT:-8888}" --no-browser "$@"
