"""`bpnet data download`: annotation files from their public homes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpnet.data.sources import RemoteFile, Source


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``bpnet data``.

    Args:
        commands: What ``add_subparsers`` gave.
    """
    text = "fetch the annotation files of a dataset, resumed and checked"
    add = commands.add_parser("download", help=text, description=text)
    add.add_argument("name", nargs="?", metavar="NAME", help="dataset; --list shows all")
    add.add_argument("folder", nargs="?", metavar="FOLDER", help="where to (annotations/NAME)")
    add.add_argument("--list", action="store_true", help="show datasets, files, sizes, licences")
    add.add_argument(
        "--url-base",
        metavar="URL",
        help="a mirror: takes the place of scheme and host of every address",
    )
    add.set_defaults(run=lambda args: _run(add, args))


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    from bpnet.data.sources import SOURCES, find_source

    if args.list:
        names = list(SOURCES) if args.name is None else [args.name]
        print("\n\n".join(_listed(name, find_source(name, SOURCES)) for name in names))
        return
    if args.name is None:
        parser.error("give the NAME of a dataset, or --list")

    from bpnet.data.download import download

    done = download(args.name, args.folder, url_base=args.url_base)
    for path in done.kept:
        print(f"kept    {path} (there already, checksum right)")
    for path in done.fetched:
        print(f"fetched {path} ({_bytes(path.stat().st_size)}, checksum right)")
    source = SOURCES[args.name]
    print(f"terms of use: {source.licence}")
    print(f"next: bpnet data check --dataset {args.name} {done.folder}")
    print("clip features are fetched by hand; choose one release:")
    for release in source.features:
        print(f"  {release.what}\n    from {release.home}\n    to   {release.put}")
    print("then: bpnet features convert FOLDER OUT.h5 --layout auto")


def _listed(name: str, source: Source) -> str:
    lines = [f"{name}: {source.title}", f"  terms of use: {source.licence}"]
    return "\n".join([*lines, *(f"  {_file(file)}" for file in source.files)])


def _file(file: RemoteFile) -> str:
    size = "size not known" if file.size is None else _bytes(file.size)
    return f"{file.name:<31} {size:>15}  {file.url}"


def _bytes(number: int) -> str:
    return f"{number:,} bytes"
