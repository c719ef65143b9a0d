"""Evaluate a checkpoint on TACoS.

python scripts/evaluate_tacos.py checkpoint=RUN data.features=FILE data.annotations=FOLDER
"""

import sys

from bpnet.cli.evaluate import main

if __name__ == "__main__":
    main(["data.dataset=tacos", "split=test", *sys.argv[1:]])
