"""Errors that a user can act on; the drivers print their message as one line, without a traceback."""


class SubcellError(Exception):
    """What the user gave or has cannot be used as it is.

    The message names the file, the row and the value, says what was expected and what to do.
    """


class ConfigError(SubcellError):
    """The configuration is wrong; the message lists every problem."""


class SheetError(SubcellError):
    """A sample sheet cannot be read as a whole; problems of single rows set those rows aside instead."""


class ImageError(SubcellError):
    """One image cannot be used; its field is set aside and the run goes on."""


class ShapeError(SubcellError):
    """Arrays that should cover the same pixels do not."""


class CheckpointError(SubcellError):
    """A weights file is missing, damaged, or does not fit the model."""


class NothingLeftError(SubcellError):
    """Every field or cell of a dataset was set aside."""
