"""What the tests launch in several processes: one training after another, by the settings files named."""

from __future__ import annotations

import os
import sys

from seqmem.training.launch.processes import end
from seqmem.training.launch.run import train
from seqmem.training.launch.settings import read_settings

if __name__ == "__main__":
    for path in sys.argv[1:]:
        if "fsdp" in path:
            os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        train(read_settings(path))
    end(0)
