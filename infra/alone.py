"""`alone.py COMMAND...`: end what an earlier process of this part of the stack left behind, then become the command."""

import os
import sys

import processes

processes.end(*(f"{name}={os.environ[name]}" for name in ("SUPERVISOR_SERVER_URL", "SUPERVISOR_PROCESS_NAME")))
os.execv(sys.argv[1], sys.argv[1:])
