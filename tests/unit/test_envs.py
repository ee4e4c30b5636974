"""The conda environments: every one that a rule names exists, and pins what the lock pins."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
ENVS = sorted((ROOT / "envs").glob("*.yaml"))


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked():
    text = (ROOT / "requirements.lock").read_text()
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, re.MULTILINE)}


def named_by_rules():
    return {
        (rules.parent / path).resolve()
        for rules in RULES
        for path in re.findall(r'conda:\s+"([^"]+)"', rules.read_text())
    }


def test_every_rule_names_an_environment():
    for rules in RULES:
        text = rules.read_text()
        assert len(re.findall(r"^\s*script:", text, re.M)) == len(re.findall(r"^\s*conda:", text, re.M)), rules.name


def test_every_named_environment_exists_and_none_is_unused():
    assert named_by_rules() == {path.resolve() for path in ENVS}


OF_ITS_OWN = {"flat_field"}
"""BaSiC needs an older numpy than everything else, so its environment cannot follow the lock."""


@pytest.mark.parametrize("path", [path for path in ENVS if path.stem not in OF_ITS_OWN], ids=lambda p: p.stem)
def test_environment_pins_what_the_lock_pins(path):
    env = yaml.safe_load(path.read_text())
    assert env["channels"] == ["conda-forge"]
    *conda, pip = env["dependencies"]
    assert conda == ["python =3.11", "pip"]
    versions = locked()
    for pin in pip["pip"]:
        name, _, version = pin.partition("==")
        assert versions.get(normal(name)) == version, f"{path.name}: {pin}, the lock has {versions.get(normal(name))}"


def test_only_segment_and_subcell_carry_torch():
    assert {path.stem for path in ENVS if "torch==" in path.read_text()} == {"segment", "subcell"}


def test_lock_has_hashes_and_no_index_address():
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|file:|--index|--find-links", text)


@pytest.mark.parametrize("name", sorted(OF_ITS_OWN))
def test_environment_of_its_own_pins_everything(name):
    *_, pip = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pip["pip"])
