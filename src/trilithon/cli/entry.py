"""Where the command begins: first signals can end it, then it is imported."""

from trilithon.foundation.first_process import answer_as_first_process


def main() -> int:
    """Run the command and return its exit code."""
    answer_as_first_process()
    # What it consists of takes longer to import than the interpreter to start.
    from trilithon.cli.main import main as run_command

    return run_command()
