"""Evaluate a checkpoint on ActivityNet Captions: val_1, as VSLNet and BPNet do.

split=val_2 is the test part of 2D-TAN and its followers.

python scripts/evaluate_activitynet.py checkpoint=RUN data.features=FILE data.annotations=FOLDER
"""

import sys

from bpnet.cli.main import main

if __name__ == "__main__":
    main(["evaluate", "data.dataset=activitynet", "split=val_1", *sys.argv[1:]])
