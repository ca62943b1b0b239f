"""Runs a program of Python under another clock.

    python clock.py PACKAGES SECONDS PROGRAM

PACKAGES is the folder that has time_machine, which the program does not see.
"""

import runpy
import sys
import time

if __name__ == "__main__":
    packages, ahead, program = sys.argv[1:4]
    sys.path.append(packages)
    import time_machine

    time_machine.travel(time.time() + float(ahead), tick=True).start()
    sys.path.remove(packages)
    sys.argv = sys.argv[3:]
    runpy.run_path(program, run_name="__main__")
