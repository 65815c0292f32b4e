"""The one exception for mistakes that the user can fix."""


class UserError(Exception):
    """Bad input: a file, a recipe or a command that cannot work as given.

    The message says what is wrong, where (file or key), and what would be right. The command line prints it
    without a traceback and exits with code 2. Every other exception is a bug in snellen and shows its traceback.
    """


class FormatError(UserError):
    """A run in a format that this version does not read."""


class DivergedError(UserError):
    """A loss, a weight or the network's output for scored images is no longer finite."""
