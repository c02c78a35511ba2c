"""What a command line says of parameters, as numbers by name."""

from hybrid_land.errors import InputError


def pairs_of(text: str, *, option: str) -> dict[str, tuple[float, ...]]:
    """`theta_cap=0.2:0.4,ksat=1e-7` as names with their numbers.

    Raises:
        InputError: for what is not of this form.
    """
    found: dict[str, tuple[float, ...]] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip()):
        name, _, numbers = part.partition("=")
        try:
            values = tuple(float(number) for number in numbers.split(":"))
        except ValueError:
            values = ()
        if not name or not values:
            raise InputError(
                f"{option}: {part!r} cannot be read, expected a form like theta_cap=0.2"
                f"{':0.4' if option == '--ranges' else ''}; correct it"
            )
        found[name.strip()] = values
    return found


def read_ranges(text: str) -> dict[str, tuple[float, float]] | None:
    """`--ranges`: `theta_cap=0.2:0.4,...`."""
    found: dict[str, tuple[float, float]] = {}
    for name, values in pairs_of(text, option="--ranges").items():
        if len(values) != 2:
            raise InputError(
                f"--ranges: {name} has {len(values)} numbers, expected low:high; correct it"
            )
        found[name] = (values[0], values[1])
    return found or None


def read_baseline(text: str) -> dict[str, float] | None:
    """`--baseline`: `theta_cap=0.3,...`."""
    found: dict[str, float] = {}
    for name, values in pairs_of(text, option="--baseline").items():
        if len(values) != 1:
            raise InputError(
                f"--baseline: {name} has {len(values)} numbers, expected one; correct it"
            )
        found[name] = values[0]
    return found or None
