"""`python -m vagus.watchdog DIR --lease SECONDS`."""

import sys

from vagus.watchdog.process import main

if __name__ == "__main__":
    sys.exit(main())
