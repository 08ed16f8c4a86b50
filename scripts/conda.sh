#!/usr/bin/env bash
# Make a Python environment for the scripts of the extended lab, active in every new login. Idempotent.
# The script's name comes from the lab's text; Python's own venv makes the environment, so nothing else is installed.
# LAB_ENVIRONMENT chooses another folder.
set -euo pipefail

folder="${LAB_ENVIRONMENT:-$HOME/lab-environment}"
as_root() { if [[ "$(id -u)" -eq 0 ]]; then "$@"; else sudo "$@"; fi; }

# Debian and Ubuntu keep the part of Python that makes environments in a package of its own.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "Installing python3-venv ..."
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv
fi

if [[ -x "$folder/bin/pip" ]]; then
    echo "The environment $folder is there."
else
    # Also repairs an interrupted one.
    python3 -m venv --clear "$folder"
    echo "The environment $folder is new."
fi

line="source \"$folder/bin/activate\"  # GourmetGram lab"
if ! grep -qxF "$line" "$HOME/.bashrc" 2>/dev/null; then
    printf '\n%s\n' "$line" >>"$HOME/.bashrc"
fi

echo "$("$folder/bin/python" --version). Log out and in again, then:"
echo "    pip install kafka-python psycopg2-binary pandas numpy scikit-learn"
