"""What is composed, and what went wrong in composing it: Hydra's errors as ours, user folders, and where a key was set."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import policyengine
from policyengine.errors import ConfigError

PACKAGE = Path(policyengine.__file__).resolve().parent
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent
CONF, DATA = ROOT / "conf", ROOT / "data"
MAX_CONFIG_BYTES = 2**20


def composition_error(error: HydraException) -> ConfigError:
    """Hydra's own error as ours: what was misspelt, and what it may have meant."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_file(str(error.missing_cfg_file), error.options or ())
    text = first_line(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(f"command line: {error.override}", text)
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.key is not None and cause.parent_node is not None:
        known = [str(k) for k in cause.parent_node] if isinstance(cause.parent_node, DictConfig) else []
        near = difflib.get_close_matches(str(cause.key), known, n=1)
        return ConfigError(
            str(cause.full_key), f"unknown key '{cause.key}'; " + (f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}")
        )
    groups = sorted(p.name for p in CONF.iterdir() if p.is_dir())
    name = text.split("'")[1] if text.count("'") >= 2 else ""
    near = difflib.get_close_matches(name, groups, n=1)
    return ConfigError("", text + (f" Did you mean '{near[0]}'?" if near else ""))


def _missing_file(name: str, options: Sequence[str]) -> ConfigError:
    """No file for option `name` of a group that has `options`, or for the top file, which has none."""
    group, _, option = name.rpartition("/")
    folders = user_folders(sys.argv[1:])
    for file in (folder / group / f"{option.removesuffix('.yml')}.yml" for folder in folders):
        if file.exists():
            return ConfigError(str(file), f"is not read: only .yaml is; rename it to {file.stem}.yaml")
    if not options:
        known = sorted({file.stem for folder in (CONF, *folders) for file in (folder / group).glob("*.yaml")})
        there_is = ", ".join(known) or "none"
        return ConfigError(group or "--config-name", f"there is no file {option.removesuffix('.yaml')}.yaml; known: {there_is}")
    if (group, option) == ("hydra/launcher", "joblib"):  # a launcher that is there with its extra alone
        return ConfigError(f"{group}={option}", missing_extra(option))
    near = difflib.get_close_matches(option, options, n=1)
    return ConfigError(
        group, f"unknown option '{option}'; " + (f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(options))}")
    )


def missing_extra(extra: str) -> str:
    """What is wrong with an option whose extra is not installed."""
    return f"needs the extra '{extra}': pip install 'barbell-policyengine[{extra}]'"


def set_in(path: str) -> str:
    """Where a dotted key was set: the command line, or the file of the chosen option, or the top file."""
    about = HydraConfig.get()
    for override in about.overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        if key and key not in about.runtime.choices and (key == path or path.startswith(f"{key}.") or key.startswith(f"{path}.")):
            return "command line"
    parts = path.split(".")
    # A grid is the only section that an experiment writes.
    for group in ("/".join(parts[:2]), "experiment" if parts[0] == "grid" else parts[0]):
        option = about.runtime.choices.get(group)
        for source in about.runtime.config_sources:
            file = Path(source.path) / group / f"{option}.yaml"
            if source.schema == "file" and file.exists():
                return shown(file)
    return shown(CONF / "config.yaml")


def shown(path: Path) -> str:
    """`path` from the working folder or from ours, where it lies in one of them."""
    for base in (Path.cwd(), ROOT):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def data_home() -> Path:
    """The folder of the user's data."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def user_folders(argv: Sequence[str]) -> list[Path]:
    """Folders given by --config-dir, in either of its spellings."""
    found = []
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name == "-cd" or (len(name) > len("--config-") and "--config-dir".startswith(name)):  # argparse takes any unique beginning
            found += [value] if equals else list(argv[i + 1 : i + 2])
    return [Path(folder) for folder in found]


def check_user_folder(folder: Path) -> None:
    """Refuse files that Hydra would choke on, or would ignore in silence because a shipped one has their name."""
    for file in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                str(file), f"{file.stat().st_size:,} bytes is more than {MAX_CONFIG_BYTES:,}; a configuration is never that large"
            )
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(str(file), f"is not UTF-8 at byte {error.start}") from None
        shipped = CONF / file.relative_to(folder).with_suffix(".yaml")
        if shipped.exists():
            raise ConfigError(
                str(file), f"has the name of a shipped file, {shipped.relative_to(CONF)}, which would be used instead; rename it"
            )


def refuse_foreign_schemas() -> None:
    """Refuse a package `schemas` of somebody else, which the working folder may hold.

    Raises:
        ConfigError: it is not ours.
    """
    import schemas  # noqa: PLC0415 - looked at, not used

    place = Path(schemas.__path__[0]).resolve()
    if place.parent != PACKAGE.parent:
        raise ConfigError(
            str(place), f"shadows the package 'schemas' of policyengine, which is at {PACKAGE.parent}; start from another folder"
        )


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
