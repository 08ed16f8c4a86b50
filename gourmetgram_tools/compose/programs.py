"""Settings that other publishers' programs know, and a check of the lab's settings against them.

The names come from the programs' sources and documentation, not from the lab's files. Some programs end at an unknown
name, others ignore it silently; this check finds both before a start. The doctor and the tests share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NIMTABLE_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "server": frozenset({"port", "host"}),
    "database": frozenset({"url", "username", "password"}),
    "compactor": frozenset({"ip", "port"}),
}
"""Sections and keys of Nimtable's settings, from `backend/src/main/java/io/nimtable/Config.java` at commit 609dfe2.

The lab's settings are `configs.nimtable` of the compose file.
Its reader ends the server with `UnrecognizedPropertyException` on any other key; `admin` was one until July 2025. The
list `catalogs` is also known, but left out here: see `faults_of_nimtable`.
"""

_NEEDED_SECTIONS: Final = ("server", "database")


@dataclass(frozen=True)
class ComposeProgram:
    """Variables of a program that ignores unknown ones silently.

    Attributes:
        needed: variables that the lab needs.
        known: other variables that the program reads.
        sections: prefixes of further known variables.
    """

    needed: frozenset[str]
    known: frozenset[str] = frozenset()
    sections: tuple[str, ...] = ()

    def faults(self, environment: Mapping[str, object]) -> list[str]:
        """One sentence for each variable that is missing or unknown."""
        missing = sorted(self.needed - environment.keys())
        unknown = sorted(name for name in environment if not self._knows(name))
        return [*(f"{name} is missing." for name in missing), *(f"{name} is no variable of it." for name in unknown)]

    def _knows(self, name: str) -> bool:
        return name in self.needed or name in self.known or name.startswith(self.sections)


PROGRAMS: Final[Mapping[str, ComposeProgram]] = {
    # Version 3: a variable is the path of a setting in `backend/pkg/config` (kafka.go, schema.go), in upper case, with
    # an underscore for each level. KAFKA_SCHEMAREGISTRY_... are names of version 2.
    "redpanda-console": ComposeProgram(
        needed=frozenset({"KAFKA_BROKERS", "SCHEMAREGISTRY_ENABLED", "SCHEMAREGISTRY_URLS"}),
        known=frozenset({"KAFKA_CLIENTID", "KAFKA_RACKID", "METRICSNAMESPACE", "SERVEFRONTEND"}),
        sections=(
            *("KAFKA_TLS_", "KAFKA_SASL_", "KAFKA_STARTUP_", "SCHEMAREGISTRY_AUTHENTICATION_", "SCHEMAREGISTRY_TLS_"),
            *("SERDE_", "REDPANDA_ADMINAPI_", "CONSOLE_", "SERVER_", "LOGGER_", "ANALYTICS_"),
        ),
    ),
    # "Redis Insight configuration settings" of Redis' documentation, and `redisinsight/api/config/default.ts`.
    "redisinsight": ComposeProgram(
        needed=frozenset({"RI_REDIS_HOST", "RI_REDIS_PORT", "RI_REDIS_ALIAS", "RI_ACCEPT_TERMS_AND_CONDITIONS"}),
        known=frozenset(
            {
                *("RI_REDIS_DB", "RI_REDIS_USERNAME", "RI_REDIS_PASSWORD", "RI_REDIS_TLS"),
                *("RI_APP_HOST", "RI_APP_PORT", "RI_SERVER_TLS_KEY", "RI_SERVER_TLS_CERT", "RI_ENCRYPTION_KEY"),
                *("RI_LOG_LEVEL", "RI_FILES_LOGGER", "RI_STDOUT_LOGGER", "RI_PROXY_PATH", "RI_DATABASE_MANAGEMENT"),
                "RI_PRE_SETUP_DATABASES_PATH",
            }
        ),
        sections=("RI_REDIS_TLS_",),
    ),
    # The names after `process.env.` below `src` at commit 609dfe2, and those of its server (Next.js).
    "nimtable-web": ComposeProgram(
        needed=frozenset({"JAVA_API_URL", "DATABASE_URL", "JWT_SECRET", "ADMIN_USERNAME", "ADMIN_PASSWORD"}),
        known=frozenset({"NODE_ENV", "HOSTNAME", "PORT"}),
    ),
    # `docker/Dockerfile` of Nimtable: all other settings are in its file.
    "nimtable": ComposeProgram(needed=frozenset({"JAVA_OPTS"})),
}
"""Variables by service of the compose file."""


def faults_of_nimtable(document: object) -> list[str]:
    """One sentence for each fault of Nimtable's settings that ends its server or breaks the step "Connect Catalog".

    Args:
        document: content of the settings.
    """
    if not isinstance(document, dict):
        return [f"It has no sections {' and '.join(_NEEDED_SECTIONS)}."]
    faults = [f"The section {name} is missing." for name in _NEEDED_SECTIONS if name not in document]
    for name, content in document.items():
        if name == "catalogs":
            faults.append('catalogs registers a catalog, so that the step "Connect Catalog" is refused.')
        elif name not in NIMTABLE_KEYS:
            faults.append(f"{name} is unknown to Nimtable, whose server ends.")
        else:
            faults += _faults_of_section(name, content)
    return faults


def _faults_of_section(name: str, content: object) -> list[str]:
    keys = set(content) if isinstance(content, dict) else set()
    missing, unknown = NIMTABLE_KEYS[name] - keys, keys - NIMTABLE_KEYS[name]
    return [
        *(f"{name}.{key} is missing." for key in sorted(missing)),
        *(f"{name}.{key} is unknown to Nimtable, whose server ends." for key in sorted(unknown)),
    ]
