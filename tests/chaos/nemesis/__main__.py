"""Entry point of `python -m tests.chaos.nemesis`: random faults for as long as wanted, and a table of them."""

import argparse
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from tests.chaos.nemesis.arena import arena
from tests.chaos.nemesis.faults import KINDS
from tests.chaos.nemesis.history import Outcome
from tests.chaos.nemesis.rounds import Nemesis, Round

_STACK: Final = "nemesis-long"
_LOGS: Final = Path("build/nemesis-logs")


def table(rounds: list[Round]) -> str:
    """Faults by kind and part, and the answers meanwhile, as a Markdown table."""
    faults = Counter((fault.kind, fault.part) for one in rounds for fault in one.faults)
    killed = sum(one.aggregation_killed for one in rounds)
    answers = {outcome: sum(one.answers[outcome] for one in rounds) for outcome in Outcome}
    lines = [
        f"{len(rounds)} rounds in {sum(one.seconds for one in rounds) / 60:.0f} minutes; "
        + ", ".join(f"{count:,} {outcome}" for outcome, count in answers.items())
        + f"; {rounds[-1].events:,} events; {sum(len(one.found) for one in rounds)} contradictions.",
        "",
        "| Fault | Part | Times |",
        "|---|---|---|",
        *(f"| {kind} | {part} | {count} |" for (kind, part), count in sorted(faults.items())),
        f"| kill | aggregation | {killed} |",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the rounds; 0 = no contradiction, 1 = the last round or the skew found one."""
    parser = argparse.ArgumentParser(description="Random faults under traffic, and a comparison after each round.")
    parser.add_argument("--minutes", type=float, default=60.0, help="duration (60)")
    parser.add_argument("--seed", type=int, default=random.getrandbits(32), help="draws the faults (random)")
    parser.add_argument("--faults", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of faults (all)")
    parser.add_argument("--logs", type=Path, default=_LOGS, help=f"folder for all logs after a contradiction ({_LOGS})")
    parser.add_argument("--report", type=Path, help="file for the table; without it, standard output")
    options = parser.parse_args()
    # SIGTERM ends as Ctrl-C does: processes and file systems of the arena go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.write(f"seed {options.seed}\n")
    rounds = []
    with arena(_STACK) as whole:
        sys.stdout.write("".join(f"left out: {sentence}\n" for sentence in whole.impossible()))
        nemesis = Nemesis(whole, options.seed, options.faults)
        for one in nemesis.rounds(options.minutes * 60):
            rounds.append(one)
            sys.stdout.write(f"{one}\n" + "".join(f"  {sentence}\n" for sentence in one.found[:20]))
            sys.stdout.flush()
            if one.found:
                shutil.copytree(whole.stack.folder / "logs", options.logs, dirs_exist_ok=True)
                break
        skew = nemesis.skew()
    sys.stdout.write("".join(f"  {sentence}\n" for sentence in skew.found[:20]))
    text = f"{table(rounds)}\n\n{skew}\n"
    if options.report:
        options.report.write_text(text)
    sys.stdout.write(text)
    return 1 if rounds[-1].found or skew.found else 0


if __name__ == "__main__":
    sys.exit(main())
