"""What a launcher refuses before a sweep begins."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from policyengine.cli import CONF, launchers
from policyengine.cli.composition import composition_error, data_home
from policyengine.errors import ConfigError

SHIPPED = sorted(file.stem for file in (CONF / "hydra" / "launcher").glob("*.yaml"))


def options(launcher: str, **changed: object) -> dict[str, object]:
    """Those of a shipped file, without its class, as Hydra gives them."""
    loaded = OmegaConf.to_container(OmegaConf.load(CONF / "hydra" / "launcher" / f"{launcher}.yaml"))
    assert isinstance(loaded, dict)
    return {**{str(name): value for name, value in loaded.items() if name != "_target_"}, **changed}


def test_each_shipped_file_makes_its_launcher() -> None:
    kinds = {launcher: OmegaConf.load(CONF / "hydra" / "launcher" / f"{launcher}.yaml")["_target_"] for launcher in SHIPPED}
    assert kinds == {
        "dask": "policyengine.cli.launchers.Dask",
        "ray": "policyengine.cli.launchers.Ray",
        "submitit_local": "policyengine.cli.launchers.Submitit",
        "submitit_slurm": "policyengine.cli.launchers.Submitit",
    }
    for launcher, kind in kinds.items():
        assert getattr(launchers, kind.rpartition(".")[2])(**options(launcher)).options is not None


@pytest.mark.parametrize(
    ("launcher", "changed", "message"),
    [
        ("ray", {"workers": 0}, "hydra.launcher.workers: 0 is below 1"),
        ("ray", {"retries": -1}, "hydra.launcher.retries: -1 is below 0"),
        ("dask", {"retries": "often"}, "hydra.launcher.retries: 'often' is not a whole number"),
        ("dask", {"adress": "tcp://x"}, "hydra.launcher.adress: unknown key 'adress'; did you mean 'address'?"),
        ("submitit_local", {"parallel": 0}, "hydra.launcher.parallel: 0 is below 1"),
        ("submitit_slurm", {"chunk": 0}, "hydra.launcher.chunk: 0 is below 1"),
        ("submitit_slurm", {"cluster": "sge"}, "hydra.launcher.cluster: unknown value 'sge'; known: local, slurm"),
    ],
)
def test_an_option_that_cannot_be_is_named(launcher: str, changed: dict[str, object], message: str) -> None:
    kind = {"ray": launchers.Ray, "dask": launchers.Dask}.get(launcher, launchers.Submitit)
    with pytest.raises(ConfigError) as caught:
        kind(**options(launcher, **changed))
    assert str(caught.value) == message


@pytest.mark.parametrize(("launcher", "extra", "module"), [("ray", "ray", "ray"), ("dask", "dask", "distributed")])
def test_a_launcher_whose_extra_is_missing_says_which(launcher: str, extra: str, module: str) -> None:
    if find_spec(module) is not None:
        pytest.skip(f"{module} is installed here")
    with pytest.raises(ConfigError) as caught:
        launchers.check(OmegaConf.load(CONF / "hydra" / "launcher" / f"{launcher}.yaml"), "mine")  # type: ignore[arg-type]
    assert str(caught.value) == f"hydra/launcher=mine: needs the extra '{extra}': pip install 'barbell-policyengine[{extra}]'"


def test_joblib_is_not_an_unknown_option_where_it_is_not_installed() -> None:
    missing = MissingConfigException("", missing_cfg_file="hydra/launcher/joblib", options=["basic", "dask", "ray"])
    expected = "hydra/launcher=joblib: needs the extra 'joblib': pip install 'barbell-policyengine[joblib]'"
    assert str(composition_error(missing)) == expected


def test_the_data_are_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert data_home() == Path("/somewhere")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", "/home/one")
    assert data_home() == Path("/home/one/.local/share")
