"""What both parts of the demo tell about the request they are answering: process, thread and build."""

import os
import platform
import threading

import trilithon
from trilithon.foundation import leaf


def describe_server() -> dict[str, str | int]:
    """Return what is true for this request on any interface; call it on the thread that answers."""
    return {
        "process": os.getpid(),
        "thread": threading.current_thread().name,
        "build": "compiled" if leaf.COMPILED else "pure Python",
        "python": f"CPython {platform.python_version()}",
        "server": f"trilithon {trilithon.__version__}",
    }
