"""Which values of a column's parameters are in data, by soil type: what a model has seen."""

from collections.abc import Iterable

import numpy as np
import xarray as xr

# What calibration may estimate; the rest of a column's parameters stays as the data give it.
NAMES = ("theta_pwp", "theta_cap", "veg_rsminh", "veg_rsminl", "ksat", "cvh", "cvl")
ANY = "0"  # the soil type of data that name none


def parameter_ranges(datasets: Iterable[xr.Dataset]) -> dict[str, dict[str, list[float]]]:
    """Lowest and highest value of each parameter in each soil type, over all datasets.

    Args:
        datasets: with `clim_` parameters on `column`.

    Returns:
        Parameter, then soil type (`"0"` where the data name none), to `[low, high]` rounded to
        four digits.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for data in datasets:
        count = data.sizes["column"]
        soil = data["clim_sotype"].to_numpy() if "clim_sotype" in data else np.zeros(count)
        for name in NAMES:
            if f"clim_{name}" not in data:
                continue
            values = data[f"clim_{name}"].to_numpy().astype(np.float64)
            by_type = found.setdefault(name, {})
            for kind in np.unique(soil):
                here = values[soil == kind]
                label = f"{kind:.0f}"
                low, high = by_type.get(label, (np.inf, -np.inf))
                ends = min(low, here.min()), max(high, here.max())
                by_type[label] = [float(f"{end:.4g}") for end in ends]
    return {name: dict(sorted(by_type.items())) for name, by_type in found.items()}
