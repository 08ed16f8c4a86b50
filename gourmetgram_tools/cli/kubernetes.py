"""`gourmetgram kubernetes`: the platform on a Kubernetes cluster."""

from pathlib import Path
from typing import Annotated

import typer

from gourmetgram.settings import PROJECT_ROOT

kubernetes = typer.Typer(help="Kubernetes: write manifests.", no_args_is_help=True)


@kubernetes.callback()
def _cluster() -> None:
    """Keep `manifests` a subcommand, although it is the only one."""


@kubernetes.command()
def manifests(
    folder: Annotated[Path, typer.Argument(help="Folder of the manifests.")] = Path("kubernetes"),
) -> None:
    """Write Kustomize manifests from the compose file and the settings of docker/.env.

    Overlays that exist stay as they are. No password is written: docs/kubernetes.md says how to make the secrets.
    """
    from gourmetgram_tools.cli.console import console
    from gourmetgram_tools.compose.commands import COMPOSE_FILE
    from gourmetgram_tools.compose.settings import variables_of
    from gourmetgram_tools.kubernetes.manifests import write

    secrets = write(folder, COMPOSE_FILE, variables_of(PROJECT_ROOT / "docker" / ".env"))
    console.print(
        f"{folder}/trial and {folder}/managed are ready for `kubectl apply -k`. They need the secrets of "
        f"docs/kubernetes.md; keys of gourmetgram-passwords: {', '.join(secrets)}.",
        highlight=False,
        soft_wrap=True,
    )
