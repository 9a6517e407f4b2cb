"""Where files are: shipped, one file, a glob, a folder of hive partitions, or remote. Nothing is opened here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from policyengine.errors import ConfigError, SourceUnavailable

_SHIPPED = "shipped:"
_EXTENSIONS = {"httpfs": ("s3", "s3a", "s3n", "gs", "gcs", "r2", "http", "https", "hf"), "azure": ("az", "azure", "abfss")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a path stands for. `origin` is what may be printed; `extension` is what DuckDB needs for a remote path."""

    origin: str
    paths: tuple[str, ...]
    partitioned: bool = False
    remote: bool = False
    extension: str | None = None

    @property
    def remote_folders(self) -> tuple[str, ...]:
        """The fixed part of remote globs, since DuckDB must be allowed to list it."""
        return tuple(re.split(r"[*?\[]", path)[0].rpartition("/")[0] + "/" for path in self.paths if self.remote and _is_glob(path))


def locate(path: str, *, suffix: str, folders: bool, shipped_dir: Path) -> Files:
    """Files that `path` names, sorted. `folders`: a folder stands for the `*suffix` files anywhere below it.

    Raises:
        ConfigError: the path is empty, or a shipped name is not a plain file name.
        SourceUnavailable: nothing is there.
    """
    if not path.strip():
        raise ConfigError("source.path", "'' is empty; give the file: source.path=FILE")
    if path.startswith(_SHIPPED):
        return Files(origin=path, paths=(_shipped(path, shipped_dir),))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        scheme = path.partition("://")[0].lower()
        extension = next((name for name, schemes in _EXTENSIONS.items() if scheme in schemes), None)
        return Files(origin=without_password(path), paths=(path,), remote=True, extension=extension)
    local = Path(path).expanduser()
    if local.is_dir():
        return _folder(path, local, suffix=suffix, folders=folders)
    if local.exists():
        if local.stat().st_size == 0:
            raise SourceUnavailable(path, "is empty: 0 bytes")
        return Files(origin=path, paths=(str(local),))
    if not _is_glob(path):
        raise SourceUnavailable(path, "there is no such file")
    root = Path(local.anchor)
    found = sorted(p for p in root.glob(str(local.relative_to(root))) if p.is_file())
    if not found:
        raise SourceUnavailable(path, "no file matches this pattern")
    fixed = next(i for i, part in enumerate(local.parts) if _is_glob(part))
    partitioned = any("=" in part for file in found for part in file.parts[fixed:-1])
    return Files(origin=path, paths=tuple(map(str, found)), partitioned=partitioned)


def without_password(uri: str) -> str:
    """`uri` with neither password nor query, since either may hold a secret; only its scheme where it cannot be parsed."""
    try:
        parts = urlsplit(uri)
        user, _, host = parts.netloc.rpartition("@")
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return uri.partition("://")[0] + "://..."
    if not parts.scheme or not port_is_valid or "@" in user:
        return uri.partition("://")[0] + "://..." if "://" in uri else "..."
    user = user.partition(":")[0]
    return f"{parts.scheme}://{user}@{host}{parts.path}" if user else f"{parts.scheme}://{host}{parts.path}"


def _shipped(path: str, shipped_dir: Path) -> str:
    name = path.removeprefix(_SHIPPED)
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError("source.path", f"'{path}' is not 'shipped:' and the name of a file")
    file = shipped_dir / name
    if not file.is_file():
        known = ", ".join(sorted(p.name for p in shipped_dir.glob("*.parquet"))) or "none"
        raise SourceUnavailable(path, f"no such file ships; shipped: {known}")
    return str(file)


def _folder(path: str, local: Path, *, suffix: str, folders: bool) -> Files:
    if not folders:
        raise SourceUnavailable(path, f"is a folder; give a file or a pattern such as '{path.rstrip('/')}/*{suffix}'")
    found = sorted(str(p) for p in local.rglob(f"*{suffix}") if p.is_file())
    if not found:
        raise SourceUnavailable(path, f"the folder holds no *{suffix} file")
    return Files(origin=path, paths=tuple(found), partitioned=True)


def _is_glob(path: str) -> bool:
    return any(c in path for c in "*?[")
