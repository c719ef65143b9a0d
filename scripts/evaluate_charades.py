"""Evaluate a checkpoint on Charades-STA.

python scripts/evaluate_charades.py checkpoint=RUN data.features=FILE data.annotations=FOLDER
"""

import sys

from bpnet.cli.main import main

if __name__ == "__main__":
    main(["evaluate", "data.dataset=charades_sta", "split=test", *sys.argv[1:]])
