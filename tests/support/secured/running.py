"""A component of the local stack, run by a test instead of the stack's supervisor."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gourmetgram.settings import process_environment
from gourmetgram_tools.local.component import Component
from tests.support.waiting import wait_until


@contextmanager
def running(component: Component, log_file: Path, *, initialise: bool = True) -> Iterator[None]:
    """Run a component until the end of the block.

    Args:
        component: server to run.
        log_file: file for its output.
        initialise: create its contents (schema, topics, buckets).
    """
    component.obtain(_ignored)
    component.prepare(_ignored)
    program = component.program()
    with (
        log_file.open("ab") as log,
        subprocess.Popen(
            program.command,
            cwd=program.directory,
            env={**process_environment(), **program.environment},
            user=program.user,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or component.healthy(), 60, f"{component.title} ({log_file})")
            assert process.poll() is None, log_file.read_text(errors="replace")[-3000:]
            if initialise:
                component.initialise(_ignored)
            yield
        finally:
            process.send_signal(getattr(signal, f"SIG{program.stop_signal}"))
            try:
                process.wait(30)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def _ignored(_detail: str) -> None:
    """Report of a step that no test reads."""
