"""Start a script on a Python that is new enough, and turn a problem into words and an exit code."""

import os
import shutil
import sys

OLDEST = (3, 11)


def run(main):
    """Call `main` on this Python, or start the script again on a newer one; exits the process.

    This file and the head of every script keep to syntax that old Pythons read, so that they can say what is missing.
    """
    if sys.version_info < OLDEST:
        for minor in range(20, 10, -1):
            newer = shutil.which("python3.%d" % minor)
            if newer and os.system("%s -c pass >/dev/null 2>&1" % newer) == 0:
                os.execv(newer, [newer] + sys.argv)
        sys.exit("this needs Python 3.11 or newer; `python3` is %s" % sys.version.split()[0])
    from environments import Problem

    try:
        code = main()
    except Problem as problem:
        sys.exit("%s\n" % problem)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code)
