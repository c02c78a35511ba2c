"""What the repository promises about itself: its text, dependencies, versions, model and arrows."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("hybrid_land", "assimilation", "calibration")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
MODELS = sorted(path.parent for path in (ROOT / "hybrid_land" / "models").glob("*/model.json"))


def tracked() -> list[Path]:
    """Files that git knows, or a skip where there is no repository."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("not a git repository")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT), content.decode()


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in requirements}


def test_no_file_knows_a_machine():
    places = ("home", "root", "Users", "tmp", "work", "mnt", "opt")
    pattern = re.compile(r"(?<![\w.$}/])/(?:" + "|".join(places) + r")/\w|[A-Z]:\\\\?Users")
    found = [
        f"{path}: {match[0]}" for path, text in texts(tracked()) for match in pattern.finditer(text)
    ]
    assert found == []
    assert pattern.search("open('" + "/".join(["", "home", "me", "x.nc"]) + "')")


def test_no_file_is_large_and_no_code_is_long():
    assert [path for path in tracked() if path.stat().st_size > 5.1e6] == []
    code = sources(*PACKAGES, "tests", "benchmarks")
    long = [path.name for path in code if len(path.read_text().splitlines()) > 450]
    assert long == []


def test_nothing_is_left_for_later():
    words = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
    found = [str(path) for path, text in texts(tracked()) if words.search(text)]
    assert found == []


def test_the_lock_covers_the_dependencies_and_names_no_host():
    assert "://" not in LOCK
    assert not re.search("index-url|find-links|trusted-host", LOCK)
    locked = {line.split("==")[0].lower() for line in LOCK.splitlines() if "==" in line[:60]}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = names_of(PROJECT["project"]["dependencies"]) | names_of(
        extras["test"] + extras["dev"] + extras["notebook"]
    )
    assert wanted - {"hybrid_land"} - {name.strip() for name in locked} == set()
    assert LOCK.count("--hash=sha256:") > len(wanted)


def test_every_dependency_is_named_with_its_reason():
    section = README.split("## Dependencies")[1].split("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("|")]
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    said = set(re.findall(r"[a-z0-9-]+", section.lower()))
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = names_of(PROJECT["project"]["dependencies"]) | names_of(
        extras["test"] + extras["dev"] + extras["notebook"] + extras["benchmarks"]
    )
    # The same library on another system.
    assert wanted - said - {"hybrid_land", "xgboost"} == set()


def test_the_readme_s_example_prints_a_dataset(tmp_path):
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len(example.splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-c", example],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<xarray.Dataset>" in done.stdout
    assert "column: 12" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_one_version_everywhere():
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings
    assert not released or released[0].startswith(version)


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_a_shipped_model_is_whole(model):
    assert (model / "weights.safetensors").stat().st_size > 1000
    card = (model / "CARD.md").read_text()
    for word in ("ecland_train", "ecland_test", "hybrid-land train", "persistence"):
        assert word in card, word


def test_the_default_model_is_shipped():
    assert "default" in [path.name for path in MODELS]


def test_the_wheel_holds_packages_samples_and_models():
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    files = {
        entry.distribution_path
        for entry in builder.WheelBuilder(str(ROOT)).recurse_included_files()
    }
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in PACKAGES
    }
    assert expected <= files
    for name in ("samples/unseen.nc", "models/default/weights.safetensors"):
        assert f"hybrid_land/{name}" in files
    assert not [name for name in files if name.startswith(("tests", "benchmarks", "notebooks"))]


def test_rollout_is_the_only_scan_over_time_steps():
    """Others are over the draws of a chain, outer loops, and pieces of the columns."""
    places = {
        path.relative_to(ROOT).as_posix()
        for path in sources(*PACKAGES)
        if re.search(r"\b(lax\.)?(scan|fori_loop|while_loop)\(", path.read_text())
    }
    others = {
        "assimilation/filters/driver.py",
        "assimilation/minimise.py",
        "calibration/amortised/diffusion.py",
        "calibration/metropolis.py",
        "calibration/nuts.py",
        "hybrid_land/chunks.py",
    }
    assert places - others == {"hybrid_land/rollout.py"}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever it does; names taken from a package count too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


_TOP = ("training", "evaluation", "demo", "report", "cli", "sensitivity")
# Folder or file, what it must not import, and the files in it that stand on top and may.
ARROWS = [
    (
        "hybrid_land",
        ("assimilation", "calibration"),
        (
            *(
                "cli.py",
                "cli_assimilate.py",
                "cli_assimilate_options.py",
                "cli_calibrate.py",
                "cli_calibrate_options.py",
                "cli_learn_error.py",
            ),
            *("cli_observe.py", "any_model.py", "learnt_report.py", "demo"),
        ),
    ),
    ("hybrid_land/variables.py", PACKAGES, ()),
    ("hybrid_land/errors.py", PACKAGES, ()),
    ("hybrid_land/data", ("models", "rollout", "simulation", *_TOP), ()),
    ("hybrid_land/models", ("rollout", "simulation", *_TOP), ()),
    ("hybrid_land/rollout.py", ("models", "data", "simulation", *_TOP), ()),
    ("hybrid_land/simulation.py", ("models", *_TOP), ()),
    ("hybrid_land/evaluation", ("training", "demo", "report", "cli"), ()),
    ("hybrid_land/training", ("evaluation", "demo", "report", "cli"), ()),
    ("hybrid_land/report", ("training", "demo", "cli", "models"), ()),
    ("assimilation", ("models", "calibration", *_TOP), ()),
    ("calibration", ("models", *_TOP), ()),
]


@pytest.mark.parametrize(("place", "barred", "top"), ARROWS, ids=[row[0] for row in ARROWS])
def test_arrows_point_one_way(place, barred, top):
    start = ROOT / place
    files = [start] if start.is_file() else sources(place)
    assert files
    wrong = tuple(name if name in PACKAGES else f"hybrid_land.{name}" for name in barred)
    for path in files:
        if path.relative_to(ROOT).parts[1] in top:
            continue
        for module in imported(path):
            bad = [name for name in wrong if module == name or module.startswith(f"{name}.")]
            assert not bad, f"{path.relative_to(ROOT)} imports {module}"
