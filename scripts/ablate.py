"""Train variants of a model with several seeds, evaluate them, and compare them in one table.

python scripts/ablate.py --out runs/ablation --seeds 3 --vary model.fusion=none,query_concat \
    experiment=demo data.root=runs/demo/sample
"""

from bpnet.cli.ablate import main

if __name__ == "__main__":
    main()
