# MLflow's server: tracking and model registry, in the environment of requirements/mlflow.txt alone. From the repository's root:
#     docker build -f docker/mlflow.Dockerfile .
ARG PYTHON_IMAGE=python:3.11.10-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# Where packages come from when not from pip's own default; an empty value changes nothing.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements/mlflow.txt ./
# The list is complete: nothing is looked up beside it.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install --no-deps --require-hashes --only-binary :all: --requirement mlflow.txt \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes setuptools pip

FROM ${PYTHON_IMAGE}
# The image has no git, and the server needs none: without the second variable each start warns of it.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 GIT_PYTHON_REFRESH=quiet HOME=/tmp
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin mlflow
COPY --from=packages /opt/venv /opt/venv
WORKDIR /tmp
USER 10001:10001
EXPOSE 5000
# All settings are variables; docker/docker-compose.yaml sets them.
CMD ["python", "-m", "mlflow", "server"]
