"""Start a script on a Python that is new enough, and turn a problem into words and an exit code.

Every script imports this first. This file and the head of the scripts keep to what old Pythons read.
"""

import os
import shutil
import sys

OLDEST = (3, 11)

if sys.version_info < OLDEST:
    for minor in range(20, 10, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer and os.system(f"{newer} -c pass >/dev/null 2>&1") == 0:
            os.execv(newer, [newer, *sys.argv])
    sys.exit(f"this needs Python 3.11 or newer; `python3` is {sys.version.split()[0]}")


def run(main):
    """Call `main` and exit with the code that it returns; a Problem ends with its words and code 2."""
    from environments import Problem

    try:
        code = main()
    except Problem as problem:
        print(problem, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output is gone, as in `scripts/spec-coverage | head`; closing must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
