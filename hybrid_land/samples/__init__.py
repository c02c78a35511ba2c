"""Small real ECLand runs that ship with the package."""
