"""What of a file is for training and what is withheld: by place and, at the end, by time."""

import xarray as xr

from hybrid_land.training.config import TrainingConfig
from hybrid_land.training.windows import validation_columns

STEPS_A_YEAR = 1461  # 6-hourly


def split(whole: xr.Dataset, config: TrainingConfig) -> tuple[xr.Dataset, xr.Dataset]:
    """The training part and the validation part of a file.

    Validation takes whole places over all times. Training takes the other places, without the
    last year of files longer than two years if the configuration says so.
    """
    held = validation_columns(whole, share=config.validation_share, seed=config.split_seed)
    kept = whole.isel(column=~held)
    if config.leave_out_last_year and whole.sizes["time"] > 2 * STEPS_A_YEAR:
        kept = kept.isel(time=slice(0, -STEPS_A_YEAR))
    return kept, whole.isel(column=held)
