"""The exit codes of the command, for service managers and scripts."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why the process ended; `prose` is the line that the help and the documentation show."""

    prose: str

    OK = 0, "stopped as asked, or the check found nothing wrong"
    UNEXPECTED = 1, "an error that should not happen; the traceback is printed"
    USAGE = 2, "an option, a variable or a file of options cannot be used"
    LOAD = 3, "the application cannot be found, imported or recognised"
    BIND = 4, "an address cannot be listened on"
    STARTUP = 5, "the application's lifespan start-up failed"
    CONTROL = 6, "trilithon ctl could not reach the running server, or that could not do what was asked"

    def __new__(cls, code: int, prose: str) -> "ExitCode":
        """Make a member that is the integer `code`."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.prose = prose
        return member
