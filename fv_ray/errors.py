"""The exceptions that fv-ray raises on purpose.

    FvRayError
    ├── InputError           what a person asked for cannot be made (also a ValueError)
    │   └── SizeRefused       so large or so long a clip
    ├── CheckpointError      a checkpoint folder or a released weights file is not what it must be
    ├── DeviceFailed         after this, the process cannot use its device any more
    ├── DeviceOutOfMemory    a request needs more memory than the device has left
    ├── EnhancerUnavailable  the prompt enhancer does not answer
    ├── NoiseError           a recorded noise source was asked for something it does not hold
    ├── NumericalError       a model's arithmetic left the range of its dtype
    ├── ResultEmpty          a stage left a file without content, or none
    ├── StorageError         a result could not be written or read back
    │   ├── ArtifactDamaged   a stored file is missing or not what was stored
    │   └── StoreUnavailable  an object store does not answer now
    └── PromptNotRead        a warning, not an error: a part of the prompt is not read
        ├── PromptTooLong     the text encoder's window is shorter
        └── UnknownWords      the tokenizer's list of words does not hold them

A message has three parts: what was wrong with its value, what is allowed, what to do.
"""


class FvRayError(Exception):
    """Root of every error that fv-ray raises on purpose."""


class InputError(FvRayError, ValueError):
    """What a person asked for cannot be made."""


class SizeRefused(InputError):
    """A clip of a size or a length that cannot be made, or that is said twice."""

    def __init__(self, message: str, *, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        """The field that is meant."""


class CheckpointError(FvRayError):
    """A checkpoint folder or a released weights file is not what it must be."""


class DeviceFailed(FvRayError):
    """The device gave an error after which a process cannot use it."""


class DeviceOutOfMemory(FvRayError):
    """A request needed more memory than the device has left."""


class NoiseError(FvRayError):
    """A recorded noise source was asked for something it does not hold."""


class NumericalError(FvRayError):
    """A model's arithmetic left the range of its dtype."""


class ResultEmpty(FvRayError):
    """A stage left a file without content, or none: the run came to nothing."""


class EnhancerUnavailable(FvRayError):
    """The prompt enhancer does not answer now; later it may."""


class StorageError(FvRayError):
    """A result could not be written or read back."""


class ArtifactDamaged(StorageError):
    """A stored file is missing or not what was stored: run the stage again."""


class StoreUnavailable(StorageError):
    """An object store does not answer now; later it may."""


class PromptNotRead(UserWarning):
    """A part of the prompt is not read."""


class UnknownWords(PromptNotRead):
    """The tokenizer's list of words does not hold them."""


class PromptTooLong(PromptNotRead):
    """The text encoder's window is shorter than the prompt; its end was not read."""
