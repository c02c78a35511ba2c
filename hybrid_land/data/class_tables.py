"""ECLand's tables by class of soil and vegetation, for data that give only the classes.

Soil: IFS Documentation CY48R1, Part IV, chapter 8 (van Genuchten; field capacity at
-10 kPa, wilting point at -1500 kPa). Vegetation: ECLand's `susveg_mod.F90`, the
tables adjusted to the ESA-CCI cover maps (CY49R1), with the covers of the runs of this project.
"""

import numpy as np
import xarray as xr

# By soil type 1 (coarse) to 7 (tropical organic).
SOIL: dict[str, tuple[float, ...]] = {
    "clim_theta_cap": (0.242, 0.346, 0.382, 0.448, 0.541, 0.662, 0.346),
    "clim_theta_pwp": (0.059, 0.151, 0.133, 0.279, 0.335, 0.267, 0.151),
    "clim_theta_sat": (0.403, 0.439, 0.430, 0.520, 0.614, 0.766, 0.439),
    "clim_theta_res": (0.025, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01),
    "clim_vg_alpha": (3.83, 3.14, 0.83, 3.67, 2.65, 1.30, 3.14),
    "clim_vg_n": (1.3774, 1.1804, 1.2539, 1.1012, 1.1033, 1.2039, 1.1804),
    "clim_vg_l": (1.25, -2.3421, -0.5884, -1.9772, 2.5, 0.4, -2.3421),
    "clim_ksat": (6.94e-6, 1.16e-6, 2.63e-7, 2.87e-6, 1.74e-6, 9.3e-7, 1.16e-6),
}
# By vegetation type 0 to 20; type 0 (none) and 8 (desert) are bare soil.
VEGETATION: dict[str, tuple[float, ...]] = {
    "clim_veg_cov": (
        *(0.0, 0.9, 0.85, 0.9, 0.9, 0.9, 0.99, 0.7, 0.0, 0.5, 0.9),
        *(0.1, 0.0, 0.6, 0.0, 0.0, 0.5, 0.4, 0.9, 0.9, 0.6),
    ),
    "clim_veg_z0m": (
        *(0.013, 0.25, 0.1, 2.0, 2.0, 2.0, 2.0, 0.5, 0.013, 0.03, 0.5),
        *(0.03, 0.0013, 0.25, 1e-4, 1e-4, 0.5, 0.1, 1.5, 1.1, 0.02),
    ),
    "clim_veg_rsmin": (
        *(250.0, 125.0, 80.0, 395.0, 320.0, 215.0, 320.0, 100.0, 250.0, 45.0, 110.0),
        *(45.0, 0.0, 130.0, 0.0, 0.0, 230.0, 110.0, 180.0, 175.0, 150.0),
    ),
}


def fill_from_classes(data: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Add the parameters that are missing and follow from `clim_sotype`, `clim_tvh`, `clim_tvl`.

    A class outside the tables (soil type 0 is water) gives NaN, which `validate` names.

    Returns:
        The data, and one sentence for each class that was used.
    """
    notes = []
    tables = {"clim_sotype": (SOIL, "", 1)}
    tables |= {f"clim_tv{kind}": (VEGETATION, kind, 0) for kind in "hl"}
    for key, (table, suffix, first) in tables.items():
        absent = [stem for stem in table if f"{stem}{suffix}" not in data]
        if key not in data or not absent:
            continue
        kind = np.nan_to_num(np.round(data[key].to_numpy()), nan=-1.0).astype(int) - first
        for stem in absent:
            values = np.asarray(table[stem], np.float32)
            known = (kind >= 0) & (kind < len(values))
            filled = np.where(known, values[np.clip(kind, 0, len(values) - 1)], np.float32("nan"))
            data = data.assign({f"{stem}{suffix}": ("column", filled)})
        notes.append(f"{', '.join(stem + suffix for stem in absent)} by {key} from ECLand's table")
    return data, notes
