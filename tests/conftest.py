"""Settings and fixtures of all tests: strict JAX, a compilation cache, where the data are."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]


def pytest_configure() -> None:
    """Set JAX for all tests, before the first test module is imported."""
    jax.config.update("jax_numpy_rank_promotion", "raise")
    # Most of the suite's time is compilation: code that is slower and made in half the time, in
    # the tests' own processes and those they start. The second run of the suite finds it done.
    quick = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
    os.environ.setdefault("XLA_FLAGS", quick)
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with ECLand's runs that are too large to ship, or a skip with the reason."""
    folder = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ecland").is_dir():
        pytest.skip(f"no ECLand runs in {folder}; set HYBRID_LAND_DATA to the folder that has them")
    return folder


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sound inputs for the command line, not to be changed."""
    from tests.kit import lay_out

    return lay_out(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def place(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `kit` for one test, which runs in it."""
    folder = tmp_path / "here"
    shutil.copytree(kit, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound inputs for a file's tests of commands, which write beside them under their names."""
    from tests.kit import lay_out

    return lay_out(tmp_path_factory.mktemp("place"))


@pytest.fixture
def toy_place(laid_out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`laid_out` with a toy in the emulator's place, which compiles in a second."""
    from tests.toy import Weathered

    monkeypatch.chdir(laid_out)
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Weathered())
    return laid_out


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision while a test runs, for gradients and tolerances that need it."""
    with jax.enable_x64(True):
        yield
