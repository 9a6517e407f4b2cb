"""Launchers of a sweep's jobs besides Hydra's own and joblib's: submitit (processes here, or Slurm), Ray and Dask."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any, Literal

from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from policyengine.cli.composition import first_line, missing_extra
from policyengine.cli.remote import Cell, Jobs, Remote
from policyengine.errors import ConfigError
from policyengine.spec.bind import bind
from policyengine.spec.rules import at_least


def register() -> None:
    """Let Hydra find the launchers of this module; by itself it takes plugins from a package of its own alone."""
    known = Plugins.is_in_toplevel_plugins_module

    def allowed(name: str) -> bool:
        return name.startswith(f"{__name__}.") or bool(known(name))

    Plugins.is_in_toplevel_plugins_module = staticmethod(allowed)  # type: ignore[method-assign, assignment]
    for launcher in SHIPPED:
        Plugins.instance().register(launcher)


def check(config: DictConfig, chosen: str) -> None:
    """Refuse a launcher that cannot run what `config`, of Hydra's `hydra.launcher`, asks for.

    Raises:
        ConfigError: naming the option, or the command that installs the extra that is missing.
    """
    for launcher in SHIPPED:
        if config.get("_target_") == f"{__name__}.{launcher.__name__}":
            if find_spec(launcher.MODULE) is None:
                raise ConfigError(f"hydra/launcher={chosen}", missing_extra(launcher.EXTRA))
            launcher(**{str(name): value for name, value in config.items() if name != "_target_"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmititOptions:
    """At most `parallel` processes at a time, each of which runs up to `chunk` jobs in turn; their pickles and logs go to `folder`."""

    cluster: Literal["local", "slurm"]
    folder: str
    parallel: int
    chunk: int

    def __post_init__(self) -> None:
        """Refuse a sweep that would never begin."""
        at_least("parallel", self.parallel, 1)
        at_least("chunk", self.chunk, 1)


class Submitit(Remote):
    """Jobs as processes of this machine, or as one array of Slurm's. `parameters` are those of submitit's own executor."""

    EXTRA, MODULE = "submitit", "submitit"

    def __init__(self, *, parameters: Mapping[str, Any], **options: Any) -> None:
        self.options = bind(SubmititOptions, options, "hydra.launcher")
        plain: Any = OmegaConf.to_container(OmegaConf.create(dict(parameters)), resolve=True)
        self.parameters: dict[str, Any] = plain

    def run(self, cell: Cell, jobs: Jobs) -> None:
        """Submit, and wait until each has ended.

        Raises:
            ConfigError: Slurm is not on this machine, or submitit does not know a parameter.
        """
        import submitit  # noqa: PLC0415 - an extra

        slurm = self.options.cluster == "slurm"
        if slurm and (which("sbatch") is None or which("srun") is None):
            raise ConfigError("hydra/launcher=submitit_slurm", "sbatch and srun are not on this machine; start the sweep where they are")
        executor = submitit.AutoExecutor(folder=self.options.folder, cluster=self.options.cluster)
        try:
            executor.update_parameters(**self.parameters, slurm_array_parallelism=self.options.parallel)
        except (NameError, AssertionError) as error:
            raise ConfigError("hydra.launcher.parameters", first_line(error)) from None
        chunks = [jobs[first : first + self.options.chunk] for first in range(0, len(jobs), self.options.chunk)]
        if slurm:
            for chunk, submitted in zip(chunks, executor.map_array(partial(_in_turn, cell), chunks), strict=True):
                _tell([number for number, _ in chunk], submitted.exception)
        else:
            _a_few_at_a_time(partial(executor.submit, _in_turn, cell), chunks, self.options.parallel)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """The cluster at `address`; None is one of `workers` processes of this machine's, None of those one for each processor.

    A job whose process died is tried again `retries` times; by Dask at a given address, as often as its scheduler is set to.
    """

    address: str | None
    workers: int | None
    retries: int

    def __post_init__(self) -> None:
        """Refuse a sweep that would never begin, or never end."""
        at_least("workers", 1 if self.workers is None else self.workers, 1)
        at_least("retries", self.retries, 0)


class Ray(Remote):
    """Jobs as tasks of Ray, each on one processor, of this machine or of a cluster that runs."""

    EXTRA, MODULE = "ray", "ray"

    def __init__(self, **options: Any) -> None:
        self.options = bind(ClusterOptions, options, "hydra.launcher")

    def run(self, cell: Cell, jobs: Jobs) -> None:
        """Submit, and wait until each has ended."""
        with _ray(self.options) as ray:
            shared, task = ray.put(cell), ray.remote(num_cpus=1, max_retries=self.options.retries)(_call)
            running = {task.remote(shared, number, words): number for number, words in jobs}
            while running:
                (ended,), _ = ray.wait(list(running), num_returns=1)
                _tell([running.pop(ended)], partial(_raised, ray.get, ended))


class Dask(Remote):
    """Jobs as tasks of Dask, on processes of this machine or of a cluster that runs."""

    EXTRA, MODULE = "dask", "distributed"

    def __init__(self, **options: Any) -> None:
        self.options = bind(ClusterOptions, options, "hydra.launcher")

    def run(self, cell: Cell, jobs: Jobs) -> None:
        """Submit, and wait until each has ended."""
        from distributed import Client, as_completed  # noqa: PLC0415 - an extra

        with _dask(self.options) as address, Client(address) as client:
            running = {client.submit(_call, cell, number, words, pure=False): number for number, words in jobs}
            for ended in as_completed(running):
                _tell([running[ended]], ended.exception)


SHIPPED: tuple[type[Submitit | Ray | Dask], ...] = (Submitit, Ray, Dask)


def _call(cell: Cell, number: int, overrides: Sequence[str]) -> None:
    """A function: Ray takes nothing else, and Dask names a task by it."""
    cell(number, overrides)


def _in_turn(cell: Cell, jobs: Jobs) -> None:
    for number, overrides in jobs:
        cell(number, overrides)


def _raised(call: Callable[[Any], object], argument: object) -> Exception | None:
    try:
        call(argument)
    except Exception as error:  # noqa: BLE001 - Ray raises what the process raised, besides its own
        return error
    return None


def _tell(numbers: Sequence[int], exception: Callable[[], BaseException | None]) -> None:
    """Say which jobs may have ended before they left a result, and why."""
    error = exception()
    if error is not None:
        print(f"warning  job {', '.join(map(str, numbers))}: {first_line(error)}", file=sys.stderr)


def _a_few_at_a_time(submit: Callable[[Jobs], Any], chunks: Sequence[Jobs], parallel: int) -> None:
    """Submit `chunks`, no more than `parallel` of which run: submitit would start them all, each with its own interpreter."""
    waiting, running = deque(chunks), list[tuple[Jobs, Any]]()
    while waiting or running:
        for chunk, job in [pair for pair in running if pair[1].done()]:
            running.remove((chunk, job))
            _tell([number for number, _ in chunk], job.exception)
        while waiting and len(running) < parallel:
            chunk = waiting.popleft()
            running.append((chunk, submit(chunk)))
        time.sleep(0.05)


@contextmanager
def _ray(options: ClusterOptions) -> Iterator[Any]:
    """Ray, connected. A cluster of this machine's listens on loopback alone and leaves nothing behind."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if options.address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or it writes one into the home folder
        os.environ.setdefault("RAY_task_oom_retries", str(options.retries))  # or a job that needs too much memory is tried for ever
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on any system, what it names is that this machine is on loopback
    import ray  # noqa: PLC0415 - an extra

    with TemporaryDirectory(prefix="pe-ray-", ignore_cleanup_errors=True) as temporary:  # has sockets: the path must be short
        local = {"num_cpus": options.workers, "_temp_dir": temporary, "include_dashboard": False}
        ray.init(options.address, log_to_driver=False, logging_level="ERROR", **(local if options.address is None else {}))
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _dask(options: ClusterOptions) -> Iterator[str]:
    """The address of the scheduler. A cluster of this machine's listens on loopback alone and leaves nothing behind."""
    if options.address is not None:
        yield options.address
        return
    import dask  # noqa: PLC0415 - an extra
    from distributed import LocalCluster  # noqa: PLC0415

    with (
        TemporaryDirectory(prefix="pe-dask-", ignore_cleanup_errors=True) as temporary,
        dask.config.set({"distributed.scheduler.allowed-failures": options.retries, "temporary-directory": temporary}),
        LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            local_directory=temporary,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # it answers there that it is healthy, at any port that is free
        ) as cluster,
    ):
        yield cluster.scheduler_address
