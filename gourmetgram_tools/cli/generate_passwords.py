"""`gourmetgram generate-passwords`: passwords of its own for the Compose lab."""

from gourmetgram.settings import PROJECT_ROOT


def generate_passwords() -> None:
    """Replace the published passwords in docker/.env by generated ones, before the lab's first start.

    Passwords of your own stay. `gourmetgram links --target compose` shows the values in use.
    """
    from gourmetgram_tools.cli.console import console
    from gourmetgram_tools.compose.passwords import generate

    names = generate(PROJECT_ROOT / "docker")
    console.print(
        f"docker/.env has generated values for {', '.join(names)}. The logins: `gourmetgram links --target compose`."
        if names
        else "No password in docker/.env is a published one: nothing changed.",
        highlight=False,
        soft_wrap=True,
    )
