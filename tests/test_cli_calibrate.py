"""`hybrid-land calibrate`: its options, what it leaves, and what it says of bad input."""

import json

import numpy as np
import pytest

from calibration import load_posterior
from calibration.covariance import Errors
from calibration.experiment import FirstState
from calibration.methods import METHODS
from calibration.priors import Prior
from hybrid_land.cli import main
from hybrid_land.evaluation.error_covariance import load_errors
from hybrid_land.models.store import describe_model
from tests.kit import answered, run
from tests.mistakes import Case, fails, holds, observed, plain
from tests.toy import Weathered

COMMAND = "calibrate model good.nc --obs obs.nc --out out.nc"
FEW = "--chains 2 --draws 20"


def test_every_option_reaches_the_posterior(toy_place, capsys):
    found, said = answered(
        f"{COMMAND} --method laplace --parameters theta_cap,theta_pwp --structure hierarchical "
        "--covariates theta_sat --prior theta_cap=normal:0.3:0.1 --discrepancy swvl1=0.01 "
        "--representativeness swvl1=0.02 --ar1 swvl1=0.005 --ar1-days 5 "
        "--first-state sampled:0.3 --options starts=2,tolerance=1e-3 --predictions 8 --seed 3 "
        f"{FEW}",
        capsys,
    )
    assert "warning" not in said
    assert {"theta_cap", "theta_pwp", "first_soil_water", "theta_cap_spread"} <= set(found)
    assert found["unfit"] == ""
    posterior = load_posterior("out.nc")
    attributes = posterior["posterior"].attrs
    assert (attributes["method"], attributes["structure"]) == ("laplace", "hierarchical")
    assert (attributes["starts"], attributes["draws"], attributes["seed"]) == (2, 20, 3)
    assert attributes["model_error"] == "swvl1 0.01, memory 30 days"
    assert attributes["first_state"].endswith("sampled with a spread of 0.3")
    drawn = posterior["posterior"]
    assert (drawn.theta_pwp < drawn.theta_cap).all()
    assert posterior["posterior_predictive"]["swvl1"].sizes["column"] == 2
    assert "prior_predictive" in posterior.groups()


def handed_over(arguments, capsys, monkeypatch):
    """What the command calls `calibrate` with."""
    handed = {}

    def estimate(*_, **options):
        handed.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("calibration.calibrate", estimate)
    with pytest.raises(SystemExit):
        main(arguments.split())
    capsys.readouterr()
    return handed


def test_every_option_is_handed_over(toy_place, capsys, monkeypatch):
    monkeypatch.setattr(Weathered, "expected_error", (("swvl1", 0.004),), raising=False)
    handed = handed_over(
        f"{COMMAND} --prior theta_cap=normal:0.3:0.1 --discrepancy-factor 3 --predictions 8 "
        "--parameter-error theta_cap=0.2 "
        "--representativeness swvl1=0.02 --ar1 swvl1=0.005 --ar1-days 5 --seed 3 "
        "--first-state spun-up:2 --structure pooled --covariates theta_sat --checks loo "
        f"--figures drawn --restart kept --warmup 30 {FEW}",
        capsys,
        monkeypatch,
    )
    assert handed["errors"] == Errors(
        representativeness={"swvl1": 0.02},
        correlated={"swvl1": 0.005},
        model={"swvl1": 3.0 * 0.004},
        memory_days=5.0,
        table_factor=3.0,
        parameters={"theta_cap": 0.2},
    )
    assert handed["priors"] == {"theta_cap": Prior("normal", 0.3, 0.1)}
    assert handed["first_state"] == FirstState("spun-up", years=2)
    assert (handed["structure"], handed["covariates"]) == ("pooled", ("theta_sat",))
    assert (handed["predictions"], handed["seed"], handed["checks"]) == (8, 3, ("loo",))
    assert (handed["chains"], handed["warmup"], handed["draws"]) == (2, 30, 20)
    assert (str(handed["figures"]), str(handed["restart"])) == ("drawn", "kept")
    assert callable(handed["progress"])


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_model_s_own_error_is_what_its_directory_says(toy_place, capsys, factor, monkeypatch):
    arguments = COMMAND.replace("model", "default") + f" --discrepancy-factor {factor}"
    handed = handed_over(arguments, capsys, monkeypatch)
    in_python = Errors(table=load_errors("default").table, table_factor=factor)
    assert handed["errors"].table.identical(in_python.table)
    assert handed["errors"].parameters == load_errors("default").parameters
    assert 0.05 < handed["errors"].parameters["theta_cap"] < 0.2
    for name in describe_model("default")["validation_rmse"]:
        assert handed["errors"].described(name) == in_python.described(name)
        assert "by lead and lag" in in_python.described(name)
    low, high = handed["ranges"]["theta_cap"]["1"]
    assert 0.1 < low < high < 0.4
    for left_out in ("--discrepancy none", "--parameter-error none"):
        bare = COMMAND.replace("model", "default") + f" {left_out}"
        assert handed_over(bare, capsys, monkeypatch)["errors"].parameters == {}


def test_a_prior_beyond_the_trained_range_is_warned_of(toy_place, capsys):
    description = json.loads((toy_place / "model" / "model.json").read_text())
    ranges = {"theta_cap": {"1": [0.2, 0.3], "2": [0.2, 0.3]}}
    (toy_place / "model" / "model.json").write_text(
        json.dumps(description | {"parameter_ranges": ranges})
    )
    _, said = answered(
        f"{COMMAND} --method laplace --prior theta_cap=uniform:0.2:0.4 --predictions 0 {FEW}",
        capsys,
    )
    (line,) = [line for line in said.splitlines() if "warning" in line]
    assert line.startswith(
        "hybrid-land: warning: prior of theta_cap reaches from 0.2 to 0.4, beyond what the model"
    )
    assert load_posterior("out.nc")["posterior"].attrs["notice"] in line
    (toy_place / "model" / "model.json").write_text(json.dumps(description))


def apart(problem, *, key, progress=None, chains=4, draws=20):
    """Two chains that never meet."""
    z = np.random.default_rng(0).normal(size=(chains, draws, len(problem.names), problem.count))
    z[0] += 9.0
    return z, {"diverging": np.zeros((chains, draws, problem.count), bool)}


def test_chains_that_did_not_mix_are_written_and_marked(toy_place, capsys, monkeypatch):
    monkeypatch.setitem(METHODS, "nuts", apart)
    with pytest.raises(SystemExit) as ended:
        main(f"{COMMAND} {FEW}".split())
    out, err = capsys.readouterr()
    assert ended.value.code == 3
    assert out.startswith("out.nc\ncolumn 0: theta_cap ")
    (line,) = err.splitlines()
    assert line.startswith("hybrid-land: out.nc is unfit for use: the chains did not mix: largest")
    unfit = load_posterior("out.nc")["posterior"].attrs["unfit"]
    assert unfit.startswith("the chains did not mix: largest R-hat")


def test_a_column_without_a_maximum_is_written_and_marked(toy_place, capsys):
    with pytest.raises(SystemExit) as ended:
        main(f"{COMMAND} --method laplace --options starts=1,max_iterations=1 {FEW}".split())
    assert ended.value.code == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("hybrid-land: out.nc is unfit for use: no maximum of the posterior")
    assert line.endswith("give more starts and max_iterations by --options, or take --method nuts")
    unfit = load_posterior("out.nc")["posterior"].attrs["unfit"]
    assert unfit == "no maximum of the posterior was found in 2 of 2 columns (0, 1)"


def test_a_killed_run_goes_on(toy_place, capsys, monkeypatch):
    command = (
        f"{COMMAND.replace('out.nc', 'NAME')} --chains 2 --warmup 10 --draws 50 --predictions 0 "
        "--restart kept"
    )

    def stop(label):
        def show(done, total):
            if done >= 40:
                raise KeyboardInterrupt

        return show

    with monkeypatch.context() as during:
        during.setattr("hybrid_land.cli.progress_of", stop)
        with pytest.raises(SystemExit) as ended:
            main(command.replace("NAME", "killed.nc").split())
    assert ended.value.code == 130
    capsys.readouterr()
    assert not (toy_place / "killed.nc").exists()
    with pytest.raises(SystemExit) as ended:
        main(command.replace("NAME", "resumed.nc").split())
    said = capsys.readouterr().err
    assert ended.value.code in (0, 3)
    assert "draw 60 of 60" in said
    assert "draw 20 of 60" not in said
    assert load_posterior("resumed.nc")["posterior"].sizes["draw"] == 50


def flat(ds):
    return ds.assign(swvl1=ds.swvl1 * 0 + 0.25)


MISTAKES = {
    "no observation error": observed(
        lambda ds: ds.drop_vars("swvl1_error"),
        "missing variable swvl1_error",
        "expected the standard deviation of swvl1",
        command=COMMAND.replace("obs.nc", "bad.nc"),
    ),
    "fewer than 10 observations": Case(
        COMMAND.replace("obs.nc", "bad.nc"),
        ("9 observations in column 0", "expected at least 10", "leave the column out"),
        observed(lambda ds: ds.isel(time=slice(0, 9))).make,
    ),
    "a constant series": Case(
        COMMAND.replace("obs.nc", "bad.nc"),
        ("swvl1 is 0.25 in all observations of column 0", "expected values that vary"),
        observed(flat).make,
    ),
    "a prior of another form": plain(
        f"{COMMAND} --prior theta_cap=0.2:0.4", "--prior 'theta_cap=0.2:0.4'", "expected name=kind"
    ),
    "an unknown kind of prior": plain(
        f"{COMMAND} --prior theta_cap=beta:2:3", "prior of theta_cap: 'beta' is not known", "use"
    ),
    "a prior twice": plain(
        f"{COMMAND} --prior theta_cap=uniform:0.2:0.3,theta_cap=uniform:0.2:0.4",
        "--prior: 'theta_cap' is named twice",
    ),
    "a prior of what is not estimated": plain(
        f"{COMMAND} --prior ksat=uniform:1e-7:1e-6", "prior of 'ksat'", "expected one of"
    ),
    "an unknown structure": plain(
        f"{COMMAND} --structure tree", "structure 'tree' is not known", "expected column"
    ),
    "an unknown first state": plain(
        f"{COMMAND} --first-state cold", "first state 'cold' is not known", "expected data"
    ),
    "a first state of another form": plain(
        f"{COMMAND} --first-state spun-up:long", "--first-state 'spun-up:long'", "spun-up:YEARS"
    ),
    "a spin-up over days": plain(
        f"{COMMAND} --first-state spun-up:2", "40 records, expected a year", "first state of"
    ),
    "an error that is none": plain(
        f"{COMMAND} --ar1 swvl1=-1", "correlated error of swvl1 is -1", "give 0 or more"
    ),
    "a discrepancy without a number": plain(
        f"{COMMAND} --discrepancy swvl1", "--discrepancy 'swvl1'", "expected name=number"
    ),
    "a factor of what is given": plain(
        f"{COMMAND} --discrepancy none --discrepancy-factor 2", "--discrepancy-factor 2", "leave"
    ),
    "a parameter error of nothing known": plain(
        f"{COMMAND} --parameter-error theta_cup=0.1",
        "parameter error of 'theta_cup'",
        "expected one of theta_pwp, theta_cap",
    ),
    "an unknown option": plain(
        f"{COMMAND} --options depth=3", "--options: 'depth' is not one of nuts", "max_tree_depth"
    ),
    "an option of another type": plain(
        f"{COMMAND} --options max_tree_depth=deep", "max_tree_depth is 'deep'", "a whole number"
    ),
    "an option of nothing": plain(
        f"{COMMAND} --options max_tree_depth=0", "max_tree_depth is 0", "expected more than 0"
    ),
    "an option that has a flag too": plain(
        f"{COMMAND} --draws 20 --options draws=30", "--options: 'draws' is given twice"
    ),
    "a flag of another method": plain(
        f"{COMMAND} --method laplace --warmup 20", "--warmup with --method laplace", "leave it out"
    ),
    "a restart of another method": plain(
        f"{COMMAND} --method laplace --restart kept", "--restart with --method laplace", "nuts"
    ),
    "a restart in a file": plain(f"{COMMAND} --restart good.nc", "good.nc: is a file"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line(name, place, capsys, monkeypatch):
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Weathered())
    assert holds(MISTAKES[name], place=place, capsys=capsys)


def test_chains_of_another_run_are_refused(place, capsys, monkeypatch):
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Weathered())
    (place / "kept").mkdir()
    np.savez(place / "kept" / "chains.npz", mark=np.asarray("other"))
    words = fails(f"{COMMAND} --restart kept", place=place, capsys=capsys)
    assert "chains of another run, expected the same data" in words


def test_words_name_every_column(toy_place, capsys):
    words = run(f"{COMMAND} --method laplace {FEW} --predictions 0", capsys)
    assert "column 1: theta_cap 0." in words
    assert "the draws are independent" in words
