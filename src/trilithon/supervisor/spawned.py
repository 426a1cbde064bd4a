"""A worker that was started as an interpreter of its own: reads its papers and lives.

Run as `python spawned.py LETTER SCOREBOARD CHANNEL ...`, descriptor numbers all.
"""

import json
import os
import pickle
import signal
import sys
from typing import NoReturn


def main(fds: list[int]) -> NoReturn:
    """Take on the papers that stand in the first descriptor, and be that worker."""
    letter, board, *sockets = fds
    os.lseek(letter, 0, os.SEEK_SET)
    with open(letter, "rb") as file:
        # Before anything of ours is imported: it may be found by way of the parent's path only.
        sys.path[:] = json.loads(file.readline())
        from trilithon.foundation.scoreboard import Scoreboard
        from trilithon.supervisor.newborn import MEANINGS, begin, work
        from trilithon.supervisor.papers import Inherited, read_papers

        # Written by our own parent, and nobody else has had the descriptor.
        told = pickle.load(file)
    for fd in (board, *sockets):
        os.set_inheritable(fd, False)
    sys.argv[:] = told["argv"]
    begin(signal.pthread_sigmask(signal.SIG_BLOCK, ()) - set(told["held_back"]), (), MEANINGS)
    inherited = Inherited(told["app"], told["options"], Scoreboard.attach(board))
    work(read_papers(told["papers"], sockets, inherited))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
