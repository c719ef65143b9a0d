"""`bpnet import-vslnet`: trained weights of VSLNet's PyTorch code -> a checkpoint of stage one."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from bpnet.cli.source_options import add_spec_options, spec_entries
from bpnet.config import TOKENIZERS
from bpnet.errors import CheckpointError

_EPILOG = """\
WORDS.json holds the two dictionaries of the dataset that VSLNet pickled, which is never opened
here. Write it where that file is:

  python -c "import json, pickle; json.dump({k: v for k, v in pickle.load(open(
      'datasets_t7/charades_new_128.pkl', 'rb')).items() if k.endswith('_dict')}, open(
      'words.json', 'w'))"

Then, for example:

  bpnet evaluate checkpoint=OUT split=test batch_size=1 data.dataset=charades_sta \\
      data.annotations=FOLDER data.features=FOLDER
  bpnet localize VIDEO_ID "person opens a door" --checkpoint OUT --features FOLDER

VSLNet's answers depend on how much a batch is padded; batch_size=1 makes them definite.
"""


def main(arguments: list[str]) -> None:
    """Turn a trained VSLNet into a checkpoint; see ``bpnet import-vslnet --help``."""
    parser = _parser()
    args = parser.parse_args(arguments)
    for path in (args.state, args.words):  # seen before the heavy imports
        if not Path(path).is_file():
            raise CheckpointError(f"{str(path)!r}: no such file")
    out = Path(args.out)
    if out.exists():
        raise CheckpointError(f"{str(out)!r} is there already: give another name, or remove it")
    if not out.parent.is_dir():
        raise CheckpointError(f"{str(out.parent)!r}: no such folder")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)

    from bpnet.build import checkpoint_from_vslnet

    checkpoint = checkpoint_from_vslnet(
        Path(args.state),
        Path(args.words),
        spec_entries(args),
        tokenizer=args.tokenizer,
        num_heads=args.heads,
    )
    checkpoint.save(out)
    model, sizes, spec = checkpoint.model, checkpoint.sizes, checkpoint.feature_spec
    print(
        f"{out}: predictor {model['predictor']}, width {model['hidden_dim']}, "
        f"{sizes['num_words']} words, {sizes['num_characters']} characters, at most "
        f"{sizes['max_positions']} clips of width {spec.feature_dim} ({spec.backbone})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpnet import-vslnet",
        description="Turn weights that VSLNet's PyTorch code trained into a checkpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("state", help="its state dict, such as vslnet_8765.t7")
    parser.add_argument("words", metavar="words.json", help="its words and characters, see below")
    parser.add_argument("out", help="checkpoint to write, OUT.safetensors; must not be there yet")
    parser.add_argument("--heads", type=int, default=8, metavar="N", help="attention heads (8)")
    parser.add_argument(
        "--tokenizer",
        default="nltk",
        choices=TOKENIZERS,
        help="what splits sentences; nltk (as VSLNet) needs `pip install nltk`",
    )
    add_spec_options(parser, "how the features were made on which it was trained")
    return parser


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
