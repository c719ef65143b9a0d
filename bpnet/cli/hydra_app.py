"""Runs a Hydra command; faults of the configuration become one clear error, before heavy work."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bpnet.config import conf_path
from bpnet.errors import BPNetError, ConfigError
from bpnet.settings import unknown_key

# With these Hydra prints or sweeps, and reports faults itself.
_HYDRA_FLAGS = re.compile(
    r"-(h|m|c|p|i|sc)$|--(help|hydra-help|multirun|cfg|info|shell-completion|version|package"
    r"|config-dir|config-path|config-name)(=|$)"
)

# With these it only prints.
_SHOWS = re.compile(r"-(h|c|i|sc)$|--(help|hydra-help|cfg|info|shell-completion|version)(=|$)")

# Groups of which the path may be given alone: `data.features=FILE`.
_PATH_ALONE = re.compile(r"(\+{0,2}data\.(?:query_)?features)=(?!\{|null$)")

Task = Callable[[dict[str, Any], Path], None]


def run(config_name: str, arguments: list[str], check: Task, task: Task) -> None:
    """Compose the config, check it, and run a task with it.

    Args:
        config_name: Name of the main YAML file.
        arguments: The command line after the subcommand: Hydra overrides and flags.
        check: Raises for what can be seen without heavy imports; gets the config as plain values
            and the run folder as configured.
        task: The work; gets the same, with the run folder that Hydra made.

    Raises:
        SystemExit: With 2 and one line on stderr where something is wrong.
    """
    _refuse_old_hydra()
    arguments = [_PATH_ALONE.sub(r"\1.path=", argument) for argument in arguments]
    path = conf_path()
    checked = False
    try:
        if not any(_HYDRA_FLAGS.match(argument) for argument in arguments):
            values = compose(path, config_name, arguments)
            check(values, Path(str(values.get("run_dir", "."))))
            checked = True
    except BPNetError as err:
        fail(err)

    def main(config: DictConfig) -> None:
        try:
            values = _plain(config)
            folder = Path(HydraConfig.get().runtime.output_dir)
            if not checked:
                check(values, folder)
            task(values, folder)
        except BPNetError as err:
            fail(err)

    # Shell completion is installed for the name of the program; `main` finds the subcommand.
    completes = any(a.startswith(("-sc", "--shell-completion")) for a in arguments)
    program = "bpnet" if completes else f"bpnet {config_name}"
    # Hydra's parser takes overrides in one piece only: `seed=1,2 --multirun optim.lr=1,2` fails.
    sys.argv = [program, *sorted(arguments, key=lambda a: "=" in a and not a.startswith("-"))]
    hydra.main(config_path=path, config_name=config_name, **_version())(main)()


def only_shows(arguments: list[str]) -> bool:
    """Whether a command line asks to be told something, and runs nothing."""
    return any(_SHOWS.match(argument) for argument in arguments)


def sweeps(arguments: list[str]) -> bool:
    """Whether a command line asks for several runs."""
    return any(argument in ("-m", "--multirun") for argument in arguments)


def fail(error: BPNetError) -> None:
    """Print an error as one line and leave with 2."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    raise SystemExit(2)


def _refuse_old_hydra() -> None:
    if sys.version_info >= (3, 14) and hydra.__version__ < "1.4":
        fail(
            ConfigError(
                f"hydra {hydra.__version__} does not start on Python 3.14: "
                "`pip install --pre 'hydra-core>=1.4.0rc3'`"
            )
        )


def compose(path: str, config_name: str, overrides: list[str]) -> dict[str, Any]:
    """The config as plain values, or an error in our own words."""
    if path.startswith("pkg://"):
        context: Any = hydra.initialize_config_module(path.removeprefix("pkg://"), **_version())
    else:
        context = hydra.initialize_config_dir(path, **_version())
    with context:
        try:
            return _plain(hydra.compose(config_name, overrides))
        except (HydraException, OmegaConfBaseException) as err:
            key = re.search(r"Could not override '([^']+)'", str(err))
            if key and "not in struct" in _chain(err):
                base = _flat(hydra.compose(config_name, _choices(config_name, overrides)))
                group = key[1].rpartition(".")[0]
                beside = [name for name in base if name.rpartition(".")[0] == group]
                raise ConfigError(unknown_key(key[1], beside or base)) from err
            raise ConfigError(_with_nested_options(" ".join(str(err).split()))) from err


def _choices(config_name: str, overrides: list[str]) -> list[str]:
    """The overrides that choose among the files of a group: `data=jsonl`."""
    groups = hydra.compose(config_name, return_hydra_config=True).hydra.runtime.choices
    return [one for one in overrides if one.partition("=")[0] in {*groups, "experiment"}]


def _with_nested_options(message: str) -> str:
    """Hydra lists what lies directly in a group; name what lies in its folders too."""
    found = re.search(r"Available options in '([^']+)': (.*?)(?= Config search path|$)", message)
    if found is None:
        return message
    return f"{message[: found.start(2)]}{', '.join(_options(found[1]))}{message[found.end(2) :]}"


def _options(group: str) -> list[str]:
    """The options of a group: `demo`, `paper/charades_i3d`."""
    loader = GlobalHydra.instance().config_loader()
    folders = loader.list_groups(group)
    nested = [f"{name}/{option}" for name in folders for option in _options(f"{group}/{name}")]
    return [*loader.get_group_options(group), *nested]


def _version() -> dict[str, str]:
    # hydra 1.4 knows no other behaviour and warns of the argument; 1.3 needs it.
    return {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}


def _chain(err: BaseException | None) -> str:
    texts = []
    while err is not None:
        texts.append(str(err))
        err = err.__cause__
    return " ".join(texts)


def _flat(config: DictConfig) -> list[str]:
    """All keys of a config, dotted."""
    keys: list[str] = []
    for name in config:
        key = str(name)
        child = config._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            keys += [f"{key}.{inner}" for inner in _flat(child)]
        keys.append(key)
    return keys


def _missing(values: Any, prefix: str = "") -> list[str]:
    """Keys that must be given, dotted."""
    if not isinstance(values, dict):
        return [prefix] if values == "???" else []
    dot = f"{prefix}." if prefix else ""
    return [key for name, value in values.items() for key in _missing(value, f"{dot}{name}")]


def _plain(config: DictConfig) -> dict[str, Any]:
    # Looked for before anything is resolved: other settings may refer to what is missing.
    missing = sorted(_missing(OmegaConf.to_container(config, resolve=False)))
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} not set: give {' '.join(f'{key}=...' for key in missing)}"
        )
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
