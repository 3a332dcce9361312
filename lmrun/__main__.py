"""`python -m lmrun`: the same as the `lmrun` command. It holds no logic."""

import sys

from lmrun.cli.main import main

sys.exit(main())
