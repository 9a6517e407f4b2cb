"""A job of a sweep in another process, perhaps on another machine that shares the file system, and what launchers of such jobs share.

What a job comes to stands in its folder: a launcher hands nothing back, waits for every job whatever became of the others, and tells of
one whose process died, or that could not begin. `collect` finds it without a result.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from policyengine.cli.composition import data_home

CARRIED = ("BARBELL_", "HYDRA_", "POLICYENGINE_")
"""What the names begin with of the variables that a job finds as the sweep had them. Secrets are not among them."""
Jobs = Sequence[tuple[int, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What another process needs to run jobs of a sweep as the process that started it would."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    state: Any
    folder: str
    environment: Mapping[str, str]

    def __call__(self, number: int, overrides: Sequence[str]) -> None:
        """Compose job `number` and run it; its folder has the result, whether it failed or not."""
        os.chdir(self.folder)  # relative paths of the configuration are from there
        os.environ.update(self.environment)
        Singleton.set_state(self.state)
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


class Remote(Launcher):
    """A launcher that sends cells away."""

    EXTRA: ClassVar[str]
    MODULE: ClassVar[str]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a cell needs."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and wait for them."""
        carried = {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}
        cell = Cell(
            context=self.context,
            task=self.task,
            config=self.config,
            state=Singleton.get_state(),
            folder=str(Path.cwd()),
            environment={**carried, "XDG_DATA_HOME": str(data_home())},
        )
        self.run(cell, [(number, list(words)) for number, words in enumerate(job_overrides, initial_job_idx)])
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

    @abstractmethod
    def run(self, cell: Cell, jobs: Jobs) -> None:
        """Call `cell` with each of `jobs`, each in some other process, and return when none runs any more."""
