"""The remote service of the sensors, as slow as REMOTE_WORK_S says."""

import os

from sensors import upstream

upstream.WORK_S = float(os.environ["REMOTE_WORK_S"])
app = upstream.app
