"""The choice between the ways in which a worker's process may come to be."""

import sys
from typing import Any

from trilithon.foundation.options import Options
from trilithon.supervisor.forking import ForkLauncher
from trilithon.supervisor.household import Household, Launcher
from trilithon.supervisor.nursery import TemplateLauncher
from trilithon.supervisor.spawning import SpawnLauncher


def choose_launcher(household: Household, options: Options) -> Launcher:
    """Return the way to start workers that the options ask for; raises ConfigError."""
    if options.preload:
        return TemplateLauncher(household)
    if options.start_method == "spawn" or (options.start_method == "auto" and not is_fork_safe(household.app)):
        return SpawnLauncher(household)
    return ForkLauncher(household)


def is_fork_safe(app: Any) -> bool:
    """Tell whether to fork where nothing is said: system libraries of macOS do not bear it.

    An application that is given as an object can only be forked.
    """
    return sys.platform != "darwin" or not (app is None or isinstance(app, str))
