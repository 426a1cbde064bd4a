"""Run the command as `python -m trilithon`."""

import sys

from trilithon.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
