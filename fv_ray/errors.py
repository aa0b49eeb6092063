"""The exceptions that fv-ray raises on purpose.

    FvRayError
    ├── InputError        what a person asked for cannot be made (also a ValueError)
    ├── CheckpointError   a checkpoint folder or a released weights file is not what it must be
    ├── NoiseError        a recorded noise source was asked for something it does not hold
    ├── NumericalError    a model's arithmetic left the range of its dtype
    ├── StorageError      a result could not be written or read back
    └── PromptTooLong     a warning, not an error: the text encoder's window is shorter than the prompt

A message has three parts: what was wrong with its value, what is allowed, what to do.
"""


class FvRayError(Exception):
    """Root of every error that fv-ray raises on purpose."""


class InputError(FvRayError, ValueError):
    """What a person asked for cannot be made."""


class CheckpointError(FvRayError):
    """A checkpoint folder or a released weights file is not what it must be."""


class NoiseError(FvRayError):
    """A recorded noise source was asked for something it does not hold."""


class NumericalError(FvRayError):
    """A model's arithmetic left the range of its dtype."""


class StorageError(FvRayError):
    """A result could not be written or read back."""


class PromptTooLong(UserWarning):
    """The text encoder's window is shorter than the prompt; its end was not read."""
