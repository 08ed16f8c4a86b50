"""Settings of docker/.env that programs outside the containers need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from dotenv import dotenv_values

from gourmetgram.database.roles import RoleSettings
from gourmetgram.object_users import ObjectUserSettings
from gourmetgram.settings import process_environment


class ComposeSettings(RoleSettings, ObjectUserSettings):
    """Addresses, logins and passwords of the lab, those of the services in PostgreSQL and MinIO included."""

    ui_bind: str = "0.0.0.0"
    """Address of the pages."""
    data_bind: str = "127.0.0.1"
    """Address of the servers' ports."""
    lab_passwords: Literal["published", "generated"] = "published"
    """Origin of the passwords: the lab's text, or `gourmetgram generate-passwords`."""
    postgres_user: str = "user"
    postgres_password: str = "gourmetgram_postgres"  # noqa: S105 - the lab's published teaching password
    postgres_db: str = "gourmetgram"
    minio_root_user: str = "admin"
    minio_root_password: str = "gourmetgram_minio"  # noqa: S105 - teaching password
    airflow_admin_password: str = "gourmetgram_airflow"  # noqa: S105 - teaching password
    nimtable_password: str = "gourmetgram_nimtable"  # noqa: S105 - teaching password
    nimtable_db_password: str = "gourmetgram_nimtable"  # noqa: S105 - teaching password
    jupyter_token: str = ""
    """Token of the notebooks; empty = a new one at each start."""
    nimtable_jwt_secret: str = ""
    """Secret of Nimtable's login cookies; empty = a new one at each start."""

    @classmethod
    def of(cls, env_file: Path) -> Self:
        """Read a lab's settings like Compose: the caller's environment overrides the file.

        Raises:
            SettingsError: a value is not allowed.
        """
        return cls.load(variables_of(env_file) | _own(process_environment()))


def _own(variables: Mapping[str, str]) -> dict[str, str]:
    return {name.upper(): variables[name.upper()] for name in ComposeSettings.model_fields if name.upper() in variables}


def variables_of(env_file: Path) -> dict[str, str]:
    """Variables of a .env file that have a value; none without a file."""
    return {name: value for name, value in dotenv_values(env_file).items() if value}
