from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
import yaml

from policyengine.errors import ConfigError
from policyengine.signals.llm_fallback import Counts
from policyengine.spec.bind import bind
from policyengine.spec.llm_fallback import NoLlm, OpenAiCompatible
from tests.conftest import ROOT
from tests.llm_cases import llm_spec

FOLDER = ROOT / "conf" / "signals" / "llm_fallback"


def test_what_ships_asks_nobody_unless_told_whom() -> None:
    assert bind(NoLlm, yaml.safe_load((FOLDER / "none.yaml").read_text())) == NoLlm()
    shipped = yaml.safe_load((FOLDER / "openai_compatible.yaml").read_text())
    assert set(shipped) == {"kind"} | {f.name for f in fields(OpenAiCompatible)}
    assert (shipped["base_url"], shipped["model"]) == ("???", "???")
    assert shipped["anonymous"] is True


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1",
        "https://api.example.com:8443/v1/",
        "https://10.0.0.5",
        "http://127.0.0.1:8080/v1",
        "http://127.8.9.1/v1",
        "http://localhost:11434/v1",
        "http://[::1]:8080/v1",
    ],
)
def test_https_anywhere_and_http_on_this_machine(url: str) -> None:
    assert llm_spec(base_url=url).base_url == url


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://api.example.com/v1", "is http to another machine"),
        ("http://192.168.1.7:8080/v1", "is http to another machine"),
        ("http://localhost.example.com/v1", "is http to another machine"),
        ("http://0.0.0.0:8080/v1", "is http to another machine"),
        ("ftp://api.example.com/v1", "is neither https:// nor http://"),
        ("file:///etc/passwd", "is neither https:// nor http://"),
        ("api.example.com/v1", "is neither https:// nor http://"),
        ("", "is neither https:// nor http://"),
        ("https://", "has no valid host, port or path"),
        ("https://a b/v1", "has no valid host, port or path"),
        ("https://example.com/v1\n", "has no valid host, port or path"),
        ("https://example.com/v 1", "has no valid host, port or path"),
        ("https://exämple.com/v1", "has no valid host, port or path"),
        ("https://a..b/v1", "has no valid host, port or path"),
        ("https://example.com:0/v1", "has no valid host, port or path"),
        ("https://example.com:99999/v1", "is not a URL"),
        ("https://[::1/v1", "is not a URL"),
    ],
)
def test_other_addresses_are_refused(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        llm_spec(base_url=url)
    assert caught.value.path == "base_url"


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "https://user:sk-secret@api.example.com/v1"},
        {"base_url": "https://sk-secret@api.example.com/v1"},
        {"base_url": "https://api.example.com/v1?api-key=sk-secret"},
        {"base_url": "https://api.example.com/v1#sk-secret"},
        {"api_key_env": "sk-secret"},
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not shown") as caught:
        llm_spec(**changes)
    assert "secret" not in str(caught.value).replace("may be a secret", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": " "}, "model: ' ' is empty"),
        ({"every_days": 0}, "every_days: 0 is not in [1, 366]"),
        ({"history_sessions": 4}, "history_sessions: 4 is not in [5, 1000]"),
        ({"horizon_sessions": 0}, "horizon_sessions: 0 is not in [1, 252]"),
        ({"max_symbols_per_prompt": 0}, "max_symbols_per_prompt: 0 is not in [1, 100]"),
        ({"seed": -1}, "seed: -1 is not in [0, 2.14748e+09]"),
        ({"expected_return_max": 0.0}, "expected_return_max: 0 is not in (0, 1]"),
        ({"confidence_max": 1.5}, "confidence_max: 1.5 is not in (0, 1]"),
        ({"confidence_max": 0.5}, "thresholds.confidence_min: 0.55 exceeds confidence_max 0.5"),
        ({"timeout_seconds": 0.0}, "timeout_seconds: 0 is not in (0, 600]"),
        ({"retries": 11}, "retries: 11 is not in [0, 10]"),
        ({"backoff_seconds": 0.0}, "backoff_seconds: 0 is not in (0, 60]"),
        ({"give_up_after": 0}, "give_up_after: 0 is below 1"),
        ({"max_calls": -1}, "max_calls: -1 is below 0"),
        ({"max_tokens_in": -1}, "max_tokens_in: -1 is below 0"),
        ({"max_tokens_out": -1}, "max_tokens_out: -1 is below 0"),
        ({"max_tokens_per_answer": 0}, "max_tokens_per_answer: 0 is below 1"),
        ({"temperature": 1.0}, "temperature: unknown key 'temperature'"),
    ],
)
def test_settings_out_of_range_name_path_value_and_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        llm_spec(**changes)
    assert str(caught.value).startswith(message)


def test_the_document_names_settings_that_exist_and_every_count() -> None:
    section = (ROOT / "docs" / "signals.md").read_text().split("## Language model\n")[1].split("\n## ")[0]
    counted = re.findall(r"^\| (`.+?`) \|", section, flags=re.MULTILINE)
    assert {name for cell in counted for name in re.findall(r"\w+", cell)} == {f.name for f in fields(Counts)}
    settings = {f.name for f in fields(OpenAiCompatible)}
    told = section.split("What a run counts")[0]
    named = set(re.findall(r"`(?:signals\.llm_fallback\.)?([a-z]+_[a-z_]+)[`=]", told))
    assert named - settings == {"llm_fallback", "max_tokens"}  # the sleeve, and a field of the protocol
    assert len(named) > 10
