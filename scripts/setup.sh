#!/usr/bin/env bash
# Docker with its Compose plugin on this machine, usable without sudo. Safe to run again: what is there stays.
set -euo pipefail

user="${SUDO_USER:-$(id -un)}"
as_root() { if [[ "$(id -u)" -eq 0 ]]; then "$@"; else sudo "$@"; fi; }

if command -v docker >/dev/null && docker compose version >/dev/null 2>&1; then
    echo "Docker is installed: $(docker --version), $(docker compose version)."
else
    echo "Installing Docker (a minute or two) ..."
    script="$(mktemp)"
    trap 'rm -f "$script"' EXIT
    # To a file first: a download that breaks off must not run half a script.
    curl -fsSL https://get.docker.com/ -o "$script"
    as_root sh "$script"
fi

# Without systemd (a container, for example) somebody else starts the daemon.
if [[ -d /run/systemd/system ]]; then
    as_root systemctl enable --now docker
fi

as_root groupadd -f docker
if id -nG "$user" | tr ' ' '\n' | grep -qx docker; then
    echo "$user may use Docker."
else
    as_root usermod -aG docker "$user"
    echo "$user was added to the group docker: log out and in again, so that it takes effect."
fi
