"""An Analysis Dataset made without a model, for figures and diagnostics: exact scalar analyses."""

import numpy as np
import xarray as xr

from hybrid_land.variables import SOIL_WATER

DIMS = ("time", "column")
M = {"units": "m3 m-3"}
DEPTHS = (1.0, 0.8, 0.5, 0.2)  # how much of the surface's correction a layer takes


def made(
    *, columns: int = 6, windows: int = 5, records: int = 40, seed: int = 0
) -> tuple[xr.Dataset, xr.Dataset]:
    """An analysis with B = 0.03^2 and R = 0.02^2 at every fourth record, and its truth."""
    g = np.random.default_rng(seed)
    time = np.datetime64("2015-01-01", "ns") + np.arange(windows * records) * np.timedelta64(6, "h")
    shape = (len(time), columns)
    season = 0.05 * np.sin(2 * np.pi * np.arange(len(time)) / 365.0)[:, None]
    b, r = 0.03, 0.02
    gain = b**2 / (b**2 + r**2)
    wrong = np.repeat(b * g.standard_normal((windows, columns)), records, axis=0)
    truth, analysis = {}, {}
    observed = np.where(np.arange(len(time))[:, None] % 4 == 0, 1.0, np.nan) * np.ones(shape)
    observed[:, -1] = np.nan
    noise = r * g.standard_normal(shape)
    for depth, name in zip(DEPTHS, SOIL_WATER, strict=True):
        actual = 0.28 + depth * season + 0.01 * np.arange(columns)
        background = actual + depth * wrong
        step = (
            depth
            * np.repeat(gain * (np.nan_to_num(noise) - wrong)[::records], records, axis=0)
            * np.isfinite(observed[:1])
        )
        truth[name] = (DIMS, actual, M)
        analysis[name] = (DIMS, background + step, M)
        analysis[f"{name}_background"] = (DIMS, background, M)
        analysis[f"{name}_open_loop"] = (DIMS, actual + 1.5 * depth * wrong[:1], M)
        stated = depth * r * np.sqrt(gain) * np.ones(shape)
        analysis[f"{name}_analysis_error"] = (DIMS, stated, M)
    for suffix in ("", "_background", "_open_loop", "_analysis_error"):
        layers = [analysis[f"{name}{suffix}"][1] for name in SOIL_WATER[:3]]
        mean = 0.07 * layers[0] + 0.21 * layers[1] + 0.72 * layers[2]
        analysis[f"root_zone_soil_moisture{suffix}"] = (DIMS, mean, M)
    fresh = b * g.standard_normal(shape)
    innovation = (noise - fresh) * observed
    analysis["swvl1_innovation"] = (DIMS, innovation, M)
    analysis["swvl1_residual"] = (DIMS, innovation * (1.0 - gain), M)
    analysis["swvl1_observation_error"] = (DIMS, r * observed, M)
    analysis["swvl1_background_error"] = (DIMS, b * observed, M)
    wide = (windows, columns)
    count = np.isfinite(observed).reshape(windows, records, columns).sum(axis=1)
    chi = np.where(count > 0, g.chisquare(np.maximum(count, 1)), 0.0)
    by_window = {
        "observed": count,
        "converged": np.ones(wide, bool),
        "cost_background": 0.2 * chi / 2,
        "cost_observation": 0.8 * chi / 2,
        "cost_start": chi,
        "iterations": g.integers(3, 9, wide),
        "gradient_norm": 10.0 ** g.uniform(-5, -2, wide),
        "signal": np.where(count > 0, g.uniform(0.8, 2.0, wide), 0.0),
    }
    result = xr.Dataset(analysis, coords={"time": time})
    for name, values in by_window.items():
        result[name] = (("window", "column"), values)
    result["lat"] = ("column", np.linspace(-30.0, 60.0, columns))
    result["lon"] = ("column", np.linspace(20.0, 330.0, columns))
    result.attrs = {"window_days": records / 4.0, "shift_days": records / 4.0}
    result.attrs |= {"observations": int(count.sum()), "windows": windows, "method": "4dvar"}
    return result, xr.Dataset(truth, coords={"time": time})
