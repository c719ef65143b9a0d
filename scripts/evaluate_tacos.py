"""Evaluate a checkpoint on TACoS as 2D-TAN processed it; data.dataset=tacos_tall for TALL's.

python scripts/evaluate_tacos.py checkpoint=RUN data.features=FILE data.annotations=FOLDER
"""

import sys

from bpnet.cli.main import main

if __name__ == "__main__":
    main(["evaluate", "data.dataset=tacos_2dtan", "split=test", *sys.argv[1:]])
