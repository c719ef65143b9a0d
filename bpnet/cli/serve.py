"""`bpnet serve`: a checkpoint answers over HTTP."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys

from bpnet.cli.paths import must_exist
from bpnet.errors import CheckpointError, ConfigError, FeatureError

_NEEDED = ("fastapi", "fastapi_offline", "uvicorn", "python_multipart")

_EPILOG = """\
For example:

  bpnet serve --checkpoint runs/demo/train
  curl -F file=@holiday.mp4 http://127.0.0.1:8000/videos
  curl -H 'Content-Type: application/json' http://127.0.0.1:8000/localize \\
       -d '{"video_id": "upload-...", "queries": ["a dog jumps into the water"]}'

The bearer token is read from --token-file or the variable BPNET_SERVE_TOKEN. SIGTERM finishes
the requests that run, then ends with exit status 0.
"""


def main(arguments: list[str]) -> None:
    """Serve a checkpoint; see ``bpnet serve --help``."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    _check(args)

    from bpnet.serve.access import Access, hosts_for, is_loopback, read_token
    from bpnet.serve.limits import Limits

    limits = Limits(
        max_videos=args.max_videos,
        max_upload_mb=args.max_upload_mb,
        max_duration_seconds=args.max_duration,
        max_queries=args.max_queries,
        max_query_chars=args.max_query_chars,
        max_requests=args.max_requests,
        max_uploads=args.max_uploads,
    )
    access = Access(read_token(args.token_file, os.environ), hosts_for(args.host, args.allow_host))
    if access.token is None and not is_loopback(args.host):
        logging.getLogger(__name__).warning(
            "whoever reaches %s may ask and upload: give --token-file", args.host
        )

    from bpnet.build import check_spec
    from bpnet.inference.localizer import Localizer
    from bpnet.serve.server import serve
    from bpnet.web.listen import listen
    from bpnet_features import open_features

    with listen(args.host, args.port) as listening:
        localizer = Localizer.from_pretrained(args.checkpoint, args.device, args.weights)
        store = None
        if args.features is not None:
            store = open_features(args.features, default_spec=localizer.feature_spec)
            check_spec(localizer.feature_spec, store.spec, str(store.path))
        # Clients could fill the log with sentences that are longer than the model reads.
        logging.getLogger("bpnet.inference").setLevel(logging.ERROR)
        serve(listening, localizer, store, limits, access, args.drain_seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpnet serve",
        description="Answer sentences about videos over HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="checkpoint file, or run folder")
    parser.add_argument(
        "--features", metavar="STORE", help="features whose videos can be asked about by their id"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: any free one (8000)")
    parser.add_argument("--token-file", metavar="FILE", help="ask for the bearer token in it")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also answer to this name, as behind a proxy; may be repeated",
    )
    parser.add_argument("--weights", help="weights of the extractor, to open uploads")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-videos", type=int, default=32, help="videos kept open (32)")
    limits.add_argument("--max-upload-mb", type=int, default=512, help="largest upload (512)")
    limits.add_argument(
        "--max-duration", type=float, default=10800, help="longest upload, seconds (10800)"
    )
    limits.add_argument("--max-queries", type=int, default=256, help="sentences a request (256)")
    limits.add_argument("--max-query-chars", type=int, default=1000, help="of a sentence (1000)")
    limits.add_argument("--max-requests", type=int, default=128, help="requests at once (128)")
    limits.add_argument("--max-uploads", type=int, default=4, help="uploads received at once (4)")
    limits.add_argument(
        "--drain-seconds", type=int, default=60, help="for running requests at the end (60)"
    )
    return parser


def _check(args: argparse.Namespace) -> None:
    """Everything that can be refused before the heavy imports."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"bpnet serve needs {', '.join(missing)}: run: pip install 'bpnet-nlvl[serve]'"
        )
    must_exist("checkpoint", args.checkpoint, CheckpointError)
    if args.features is not None:
        must_exist("features", args.features, FeatureError)


if __name__ == "__main__":
    main(sys.argv[1:])
