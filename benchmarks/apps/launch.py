"""Start a server that has no command line of its own: `python launch.py SERVER MODULE:APP PORT`."""

import importlib
import sys


def launch_bjoern(app, port):
    """Serve with bjoern until killed."""
    import bjoern

    bjoern.run(app, "127.0.0.1", port)


def launch_fastpysgi(app, port):
    """Serve with fastpysgi until killed; without TCP_NODELAY its answers in parts would wait for acknowledgements."""
    import fastpysgi

    fastpysgi.server.tcp_nodelay = 1
    fastpysgi.server.backlog = 2048
    fastpysgi.run(app, host="127.0.0.1", port=port)


if __name__ == "__main__":
    _, server, target, port = sys.argv
    module, _, attribute = target.partition(":")
    application = getattr(importlib.import_module(module), attribute)
    {"bjoern": launch_bjoern, "fastpysgi": launch_fastpysgi}[server](application, int(port))
