#!/usr/bin/env bash
# Install the lab's tools on a fresh Ubuntu or Debian machine: make, git, curl, Python environments, and Docker with its
# plugins compose and buildx, usable without sudo. Idempotent: installed tools stay.
set -euo pipefail

user="${SUDO_USER:-$(id -un)}"
as_root() { if [[ "$(id -u)" -eq 0 ]]; then "$@"; else sudo "$@"; fi; }
give_up() {
    echo "$*" >&2
    exit 1
}

command -v apt-get >/dev/null || give_up "This machine has no apt-get: the script knows Ubuntu and Debian only."

apt_install() {
    echo "Installing $* (a minute or two) ..."
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

missing=()
for program in make git curl; do
    command -v "$program" >/dev/null || missing+=("$program")
done
# Ubuntu and Debian keep the part of Python that makes environments in a package of its own.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then apt_install "${missing[@]}"; fi
echo "Tools are installed: make, git, curl, $(python3 --version)."

docker_is_complete() {
    docker --version && docker compose version && docker buildx version
} >/dev/null 2>&1

candidate() { apt-cache policy "$1" | awk '/Candidate:/ && $2 != "(none)" {print $2}'; }

# Compose's package has one name in Ubuntu and one in Debian, where releases before 13 have the unusable first version.
compose_package() {
    local name
    for name in docker-compose-v2 docker-compose; do
        if [[ -n "$(candidate "$name")" && "$(candidate "$name")" != 1.* ]]; then
            echo "$name"
            return
        fi
    done
    return 1
}

install_docker() {
    local compose script packages=()
    as_root apt-get update -qq
    if compose="$(compose_package)" && [[ -n "$(candidate docker-buildx)" ]]; then
        # An engine of another publisher stays: the distribution's package would remove it.
        command -v docker >/dev/null || packages+=(docker.io)
        apt_install "${packages[@]}" "$compose" docker-buildx
        return
    fi
    echo "This release has no package of Docker's plugins: installing Docker by its publisher's script ..."
    script="$(mktemp)"
    # A file first: an interrupted download must not run half a script.
    curl -fsSL https://get.docker.com/ -o "$script" ||
        give_up "Docker's script cannot be downloaded from https://get.docker.com: check the network, then run this again."
    as_root sh "$script"
    rm -f "$script"
}

docker_is_complete || install_docker
docker_is_complete || give_up "Docker is not complete: 'docker compose version' or 'docker buildx version' fails."
echo "Docker is installed: $(docker --version), $(docker compose version), buildx."

# Without systemd (a container, for example) the daemon is started by other means.
if [[ -d /run/systemd/system ]]; then
    as_root systemctl enable --now docker
fi

as_root groupadd -f docker
if id -nG "$user" | tr ' ' '\n' | grep -qx docker; then
    echo "$user may use Docker. If 'docker ps' is refused, log out and in again."
else
    as_root usermod -aG docker "$user"
    echo "$user was added to the group docker: log out and in again, so that it takes effect."
fi
