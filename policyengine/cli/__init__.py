"""The command line: Hydra composes, one function binds, a task runs, and the exit code says how it ended.

Exit codes: 0 done or PROMOTE; 1 error in configuration or data; 2 usage; 3 INCONCLUSIVE; 4 REJECT; 5 refused to start.
"""

from __future__ import annotations

import gc
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import policyengine
from policyengine.cli import launchers
from policyengine.cli.composition import (
    CONF,
    DATA,
    check_user_folder,
    composition_error,
    data_home,
    first_line,
    refuse_foreign_schemas,
    set_in,
    shown,
    user_folders,
)
from policyengine.errors import ConfigError, PolicyEngineError
from policyengine.records import Stage, Verdict
from policyengine.reporting import terminal
from policyengine.reporting.progress import Progress
from policyengine.rollout.refusals import NotStarted
from policyengine.spec.bind import bind, unknown
from policyengine.spec.gate import GateSpec
from policyengine.spec.root import Spec, bind_spec
from policyengine.spec.task import CollectTask, EvaluateTask, GateTask, HealthTask, MonitorTask, ResetTask, SelftestTask, TradeTask
from policyengine.tasks.run import Run

RESULTS = ("evidence.json", "verdict.json", "run.json", "controls.csv", "sweep.json")
"""What a run or a sweep leaves in its folder, by which the folder is known to be taken."""
EXIT = {Verdict.PROMOTE: 0, Verdict.INCONCLUSIVE: 3, Verdict.REJECT: 4}

OmegaConf.register_new_resolver("runid", lambda: secrets.token_hex(3), use_cache=True, replace=True)


class _Ending:
    """How this process's run ended; Hydra gives a job no way to return it, and a sweep no way to say where it went."""

    code = 0
    error: PolicyEngineError | None = None
    stop: BaseException | None = None
    sweep: Path | None = None
    gate: GateSpec | None = None
    stage = Stage.CANARY


class _Refused(BaseException):
    """Stops a sweep before its first job: of what a callback raises, Hydra only warns if it is an Exception."""


def main() -> None:
    """Entry of the console script. Never returns: it exits with the code of the run."""
    gc.set_threshold(100_000, 20, 100)  # imports make many objects and no garbage: 0.3 s of a cold run of 3.5 s
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us: what is decided must not hang on it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open as long as the process is
    try:
        code = _main(sys.argv[1:])
        sys.stdout.flush()
    except NotStarted as error:
        print(f"NOT STARTED  {error.code.name}: {error.why}\n  next: {error.code.value}     no orders were sent", file=sys.stderr)
        code = error.exit_code
    except PolicyEngineError as error:
        print(f"error  {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:  # nobody reads on; what was decided stands
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _Ending.code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


def _main(argv: Sequence[str]) -> int:
    if argv == ["--version"]:
        print(f"policyengine {policyengine.__version__}")
        return 0
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path or a symbol must not end a run
    refuse_foreign_schemas()
    for folder in user_folders(argv):
        check_user_folder(folder)
    try:
        _launch()
    except HydraException as error:
        if _Ending.sweep is None:
            raise composition_error(error) from None
        print(f"error  {composition_error(error)}", file=sys.stderr)
    except RuntimeError as error:  # a launcher whose worker was killed; what it left is still collected
        if _Ending.sweep is None:
            raise
        print(f"warning  {first_line(error)}", file=sys.stderr)
    return _finish()


def _finish() -> int:
    """What Hydra could not say: the error or the exit code of the run, or what a sweep came to."""
    if _Ending.error is not None:
        raise _Ending.error
    if _Ending.sweep is not None:
        if _Ending.gate is None:
            raise ConfigError(str(_Ending.sweep), "the sweep could not be planned, so nothing can be collected")
        return _collect(_Ending.sweep, _Ending.gate, _Ending.stage)
    return _Ending.code


def _launch() -> None:
    """Let Hydra parse, compose and run; what it raises comes back raw.

    Raises:
        ConfigError: for what is not an error of Hydra's own.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    launchers.register()
    # Hydra composes everything once more only to read hydra.mode, which --run and --multirun decide here.
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    except (HydraException, BrokenPipeError):
        raise
    except _Refused:
        return  # for what _Ending.error says
    except UnicodeDecodeError as error:
        raise ConfigError("", f"a file of the configuration is not UTF-8 at byte {error.start}") from None
    except OmegaConfBaseException as error:
        raise ConfigError(error.full_key or "", first_line(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError("", f"not valid YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise ConfigError(str(error.filename or ""), f"cannot be used: {error.strerror or error}") from None
    if _Ending.stop is not None:
        raise _Ending.stop


def job(config: DictConfig) -> None:
    """One job of Hydra's: a run of its own, or a cell of a sweep, which neither raises nor exits but leaves a result."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode is not RunMode.MULTIRUN:
        try:
            _Ending.code = _execute(config, folder, in_sweep=False)
        except PolicyEngineError as error:
            _Ending.error = error  # raised once Hydra is out of the way, which would print lines of its own
        except (BrokenPipeError, KeyboardInterrupt) as stop:
            _Ending.stop = stop
        for place in (folder, folder.parent):
            if not any(place.iterdir()):
                place.rmdir()
        return
    from policyengine.store import write_json  # noqa: PLC0415 - the same in every worker

    result: dict[str, Any] = {"error": None}
    try:
        _execute(config, folder, in_sweep=True)
    except PolicyEngineError as error:
        result["error"] = str(error)
    except Exception as error:  # noqa: BLE001 - a cell that failed in a way nobody foresaw is still a row of the matrix
        result["error"] = f"{type(error).__name__}: {error}"
    write_json(folder / "result.json", result)
    if sys.stderr.isatty():
        print(f"job {HydraConfig.get().job.num}  {HydraConfig.get().job.override_dirname}  {result['error'] or 'done'}", file=sys.stderr)


def _execute(config: DictConfig, folder: Path, *, in_sweep: bool) -> int:
    """Bind what was composed and run its task; the exit code.

    Raises:
        ConfigError: naming the file or the command line where the offending key was set.
    """
    for source in HydraConfig.get().runtime.config_sources:
        if source.schema == "file" and Path(source.path).resolve() != CONF:
            check_user_folder(Path(source.path))
    try:
        container: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        missing = "is required and not given" if "Missing mandatory value" in str(error) else first_line(error)
        raise ConfigError(error.full_key or "", missing) from None
    container.pop("experiment", None)
    try:
        spec = bind_spec(container)
    except ConfigError as error:
        raise type(error)(f"{set_in(error.path)}: {error.path}", error.rule) from None
    if not in_sweep and isinstance(spec.task, EvaluateTask | TradeTask):  # the others write nothing there
        _refuse_taken(folder, "hydra.run.dir")
    with tempfile.TemporaryDirectory(prefix="policyengine-") as temporary:
        return _dispatch(spec, _run(spec, folder, Path(temporary), in_sweep=in_sweep))


def _dispatch(spec: Spec, run: Run) -> int:
    if run.in_sweep and not isinstance(spec.task, EvaluateTask):
        raise ConfigError("task", f"'{spec.task.KIND}' cannot be swept; only 'evaluate' can")
    match spec.task:
        case GateTask():
            from policyengine.tasks.gate import gate  # noqa: PLC0415 - a mistake on the command line need not wait for NumPy

            return EXIT[gate(spec, spec.task, run, lambda decision: _conclude(EXIT[decision.verdict])).verdict]
        case SelftestTask():
            from policyengine.tasks.selftest import selftest  # noqa: PLC0415

            return 0 if all(row.ok for row in selftest(spec.task, run)) else 1
        case HealthTask():
            from policyengine.tasks.health import health  # noqa: PLC0415

            return 0 if health(spec, spec.task, run, lambda found: _conclude(0 if found.ok else 1)).ok else 1
        case MonitorTask():
            from policyengine.tasks.monitor import monitor  # noqa: PLC0415

            return 0 if monitor(spec, spec.task, run, lambda ok: _conclude(0 if ok else 1)) else 1
        case CollectTask():
            return _collect(Path(spec.task.path), spec.gate, spec.task.stage)
        case task:
            # Every other task is a function of its own name, and is done when it returns.
            module = import_module(f"policyengine.tasks.{'kill' if isinstance(task, ResetTask) else task.KIND}")
            getattr(module, task.KIND)(spec, task, run)
            return 0


def _conclude(code: int) -> None:
    """Keep the exit code before anything is printed: a reader that goes away must not change what was decided."""
    _Ending.code = code


def _run(spec: Spec, folder: Path, temporary: Path, *, in_sweep: bool) -> Run:
    """The one place that reads the clock and the environment."""
    state_dir = data_home() / "policyengine" if spec.runtime.state_dir is None else Path(spec.runtime.state_dir)
    watched = sys.stderr.isatty() and not in_sweep
    return Run(
        run_id="r_" + secrets.token_hex(8),
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        folder=folder,
        state_dir=state_dir,
        canonical=Path(os.environ.get("BARBELL_PROMOTION_EVIDENCE_PATH") or state_dir / "evidence" / "barbell_pnl_evidence_latest.json"),
        shipped=DATA,
        temporary=temporary,
        in_sweep=in_sweep,
        choices={k: str(v) for k, v in HydraConfig.get().runtime.choices.items()},
        say=(lambda _: None) if in_sweep else terminal.speaker(sys.stdout),
        clock=time.monotonic,
        now=lambda: datetime.now(UTC),
        environment=os.environ,
        progress=Progress(sys.stderr, time.monotonic, enabled=watched),
    )


class Sweep(Callback):
    """Notes where a sweep goes and which jobs it has before the first starts, so that one that dies is still a row."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Write the plan into the sweep's folder; an error of the whole sweep stops it here."""
        from policyengine.tasks.collect import write_plan  # noqa: PLC0415 - only for sweeps

        _Ending.sweep = Path(config.hydra.sweep.dir)
        try:
            launchers.check(config.hydra.launcher, config.hydra.runtime.choices["hydra/launcher"])
            stage = OmegaConf.select(config, "task.stage", default=Stage.CANARY.value)
            if stage not in set(Stage):
                raise ConfigError("task.stage", unknown("value", str(stage), Stage))
            _Ending.stage = Stage(stage)
            overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
            jobs = [j for batch in BasicSweeper.split_arguments(overrides, None) for j in batch]
            for place in (_Ending.sweep, *(_Ending.sweep / str(number) for number in range(len(jobs)))):
                _refuse_taken(place, "hydra.sweep.dir")  # before the first job: one that is tried again finds what it left
            write_plan(_Ending.sweep, jobs)
            _Ending.gate = bind(GateSpec, OmegaConf.to_container(config.gate, resolve=True), "gate")
        except PolicyEngineError as error:
            _Ending.error = error
            raise _Refused from None


def _collect(folder: Path, gate: GateSpec, stage: Stage) -> int:
    from policyengine.tasks.collect import collect, summary  # noqa: PLC0415

    collected = collect(folder, gate, stage)
    for line in summary(folder, collected):
        print(line)
    return 1 if collected.errors else 0


def _refuse_taken(folder: Path, key: str) -> None:
    """Refuse to write over the results of another run.

    Raises:
        ConfigError: the folder holds some.
    """
    for name in RESULTS:
        if (folder / name).exists():
            raise ConfigError(key, f"{shown(folder)} holds {name} of another run or sweep, which would be lost; choose another folder")
