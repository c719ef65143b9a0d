"""Train a model: the same as `bpnet train`."""

import sys

from bpnet.cli.train import main

if __name__ == "__main__":
    main(sys.argv[1:])
