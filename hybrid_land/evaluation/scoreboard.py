"""The scoreboard: the numbers of `scores.json` as tables in Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Cells = Mapping[str, float | None]
_DASH = "-"


def number(x: float | None) -> str:
    """Three significant digits, or a dash."""
    if x is None:
        return _DASH
    return f"{x:.3g}" if abs(x) < 1e4 else f"{x:.2e}"


def scoreboard(result: Mapping[str, Any]) -> str:
    """Markdown tables of an evaluation; the best of each row is bold.

    Args:
        result: the content of `scores.json`.
    """
    variables = result["variables"]
    runs = _runs(result)
    parts = [
        f"# Scores of {result['model']}",
        (
            f"Free rollout of {result['steps']} steps over {result['columns']} columns from the "
            "first state. Persistence holds the first record. Climatology is the truth's own by "
            "day of year and hour of day: an oracle that has seen the record. Snow density, "
            "temperature and albedo count only where the truth has snow."
        ),
        "## Root mean square error",
        _table(
            ["variable", "unit", *_titles(result, runs)],
            [
                [name, row["units"], *_bold(_of(row, runs, "rmse"), best=min)]
                for name, row in variables.items()
            ],
        ),
        "## Anomaly correlation",
        (
            "Mean over columns of the correlation in time of anomalies from the truth's "
            "climatology; the columns whose truth has no anomaly are left out."
        ),
        _table(
            ["variable", *_titles(result, runs), "columns left out"],
            [
                [name, *_bold(_of(row, runs, "acc"), best=max), _count(row)]
                for name, row in variables.items()
            ],
        ),
        f"## Bias and unbiased RMSE of {result['model']}",
        _table(
            ["variable", "unit", "bias", "unbiased RMSE", "the same, each column's bias out"],
            [
                [name, row["units"], *(number(row[k]) for k in ("bias", "ubrmse", "ubrmse_column"))]
                for name, row in variables.items()
            ],
        ),
        "## ML-BEES: bias, RMSE and ACC scores",
        "1 is best; exp(-relative error), and the correlation of anomalies from the mean.",
        _score_table(result, ("mlbees_bias", "mlbees_rmse", "mlbees_acc")),
        "## ILAMB: overall score",
        "1 is best (Collier et al. 2018): bias, twice RMSE, seasonal cycle, variability between "
        "years, pattern over columns.",
        _score_table(result, ("ilamb_overall",)),
        *_growth(result),
        *_classes(result),
        *_budget(result),
    ]
    return "\n\n".join(parts) + "\n"


def _runs(result: Mapping[str, Any]) -> list[str]:
    return ["model", *result["baselines"]]


def _titles(result: Mapping[str, Any], runs: Sequence[str]) -> list[str]:
    return [str(result["model"]) if run == "model" else run for run in runs]


def _of(row: Mapping[str, Any], runs: Sequence[str], key: str) -> dict[str, float | None]:
    return {run: (row if run == "model" else row["baselines"][run])[key] for run in runs}


def _count(row: Mapping[str, Any]) -> str:
    left_out = row["acc_columns_left_out"]
    return _DASH if left_out is None else str(left_out)


def _bold(values: Cells, *, best: Callable[..., float]) -> list[str]:
    known = [x for x in values.values() if x is not None]
    winner = best(known) if known else None
    return [
        f"**{number(x)}**" if x is not None and x == winner else number(x) for x in values.values()
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *(["---:"] * (len(header) - 1))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _score_table(result: Mapping[str, Any], keys: Sequence[str]) -> str:
    runs = _runs(result)
    header = ["variable"]
    for key in keys:
        short = key.split("_", 1)[1]
        header += [
            title if len(keys) == 1 else f"{short}, {title}" for title in _titles(result, runs)
        ]
    rows = []
    for name, row in result["variables"].items():
        cells = [name]
        for key in keys:
            scores = {
                run: (row if run == "model" else row["baselines"][run])["scores"][key]
                for run in runs
            }
            cells += _bold(scores, best=max)
        rows.append(cells)
    return _table(header, rows)


def _growth(result: Mapping[str, Any]) -> list[str]:
    growth = result.get("error_growth")
    if not growth or not growth["lead_days"]:
        return []
    header = ["variable", "run", *(f"{days:g} d" for days in growth["lead_days"])]
    rows = []
    for name, by_run in growth["rmse"].items():
        for run, values in by_run.items():
            title = str(result["model"]) if run == "model" else run
            rows.append([name, title, *(number(x) for x in values)])
    starts = growth["starts"]
    return [
        "## Error growth",
        f"RMSE at lead times, over {starts} start{'s' if starts > 1 else ''} and all columns.",
        _table(header, rows),
    ]


def _classes(result: Mapping[str, Any]) -> list[str]:
    classes = result["climate_classes"]
    if not classes:
        return []
    header = ["variable", *(f"{name} ({c['columns']})" for name, c in classes.items())]
    return [
        f"## RMSE of {result['model']} by climate class",
        "In brackets the number of columns.",
        _table(
            header,
            [
                [name, *(number(c["variables"][name]["rmse"]) for c in classes.values())]
                for name in result["variables"]
            ],
        ),
    ]


def _budget(result: Mapping[str, Any]) -> list[str]:
    return [
        *_budget_table(
            result,
            "water_budget",
            "## Water budget",
            "Precipitation + evaporation (negative) - runoff - change of storage. ECLand's own "
            "files close to 0.01 mm a step.",
            {
                "max_abs_mm_per_step": "worst step (mm)",
                "mean_mm_per_year": "mean (mm a year)",
                "max_abs_mm_per_year": "worst column (mm a year)",
            },
        ),
        *_budget_table(
            result,
            "energy_budget",
            "## Surface energy budget",
            "Net radiation + sensible + latent heat - heat gained by soil and snow, means over a "
            "day. Six-hourly records do not hold all of it, so that ECLand's own do not close "
            "either: skin temperature between records, ice in the soil, liquid water in snow. "
            "Thawed: days without snow or freezing soil.",
            {
                "mean_w_m2": "mean (W m-2)",
                "rms_w_m2": "rms of a day (W m-2)",
                "rms_column_w_m2": "rms of a column (W m-2)",
                "mean_thawed_w_m2": "mean, thawed (W m-2)",
                "rms_thawed_w_m2": "rms of a day, thawed (W m-2)",
            },
        ),
    ]


def _budget_table(
    result: Mapping[str, Any], key: str, title: str, words: str, columns: Mapping[str, str]
) -> list[str]:
    rows = []
    for run in _runs(result):
        found = result[key] if run == "model" else result["baselines"][run][key]
        # A held or averaged state has no budget to close.
        if found is not None and run not in ("persistence", "climatology"):
            label = str(result["model"]) if run == "model" else run
            rows.append([label, *(number(found[column]) for column in columns)])
    if not rows:
        return []
    truth = result["truth"][key]
    if truth is not None:
        rows.append(["ECLand", *(number(truth[column]) for column in columns)])
    return [title, words, _table(["run", *columns.values()], rows)]
