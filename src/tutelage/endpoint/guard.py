"""`python guard.py -- COMMAND…`: run a command that must not outlive this process's parent.

The guard's standard input is a pipe that the parent holds open. When it closes, because the parent closed it or died,
the command's whole process group is ended. The guard's exit code is the command's.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

TERMINATE_SECONDS = 3.0  # between asking the group to end and killing it
NOT_FOUND = 127  # as a shell reports a command that could not be run


def main() -> int:
    command = sys.argv[sys.argv.index("--") + 1 :]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _end(child))
    code = child.wait()
    _signal(child, signal.SIGKILL)  # what the command left behind in its group
    return code if code >= 0 else 128 - code


def _end_with_parent(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    _signal(child, signal.SIGTERM)
    killer = threading.Timer(TERMINATE_SECONDS, _signal, (child, signal.SIGKILL))
    killer.daemon = True
    killer.start()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main())
