"""The one exception that tells a user what is wrong with their input."""


class InputError(ValueError):
    """A user's mistake: what was found, what was expected, and what to do, in one line.

    The command line prints the message and exits with status 2; library code raises it and never
    catches it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
