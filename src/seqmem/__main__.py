"""``python -m seqmem`` is ``seqmem``."""

import sys

from seqmem.cli import main

sys.exit(main())
