"""Train a model: the same as `bpnet train`."""

import sys

from bpnet.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
