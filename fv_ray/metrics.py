"""Clips to figures that need no model: how near one clip is to another, how much one flickers.

Frames are (F, H, W, 3) on the scale 0..255, uint8 or floats, of one size where two are compared. PSNR and SSIM are
scikit-image's. Knows nothing of prompts: whether a clip shows what was asked for is not said here.
"""

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fv_ray.errors import InputError

PEAK = 255
MIN_SSIM_SIDE = 11
"""Pixels: the window of Wang et al. 2004, a Gaussian of sigma 1.5."""


def psnr(frames_FHWC: np.ndarray, reference_FHWC: np.ndarray) -> float:
    """Peak signal-to-noise ratio over the whole clip, in dB; infinite for equal clips.

    Raises:
        InputError: these are not two clips of one size.
    """
    _check_pair(frames_FHWC, reference_FHWC)
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference_FHWC.astype(float), frames_FHWC.astype(float), data_range=PEAK))


def ssim(frames_FHWC: np.ndarray, reference_FHWC: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), the mean over frames and colours; 1 for equal clips.

    Raises:
        InputError: these are not two clips of one size, or a side is shorter than the window.
    """
    _check_pair(frames_FHWC, reference_FHWC)
    if min(frames_FHWC.shape[1:3]) < MIN_SSIM_SIDE:
        raise InputError(
            f"the frames are {frames_FHWC.shape[1]} x {frames_FHWC.shape[2]} pixels; allowed are {MIN_SSIM_SIDE} or "
            "more: compare larger frames"
        )
    of_frames = [
        structural_similarity(
            frame.astype(float),
            reference.astype(float),
            data_range=PEAK,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for frame, reference in zip(frames_FHWC, reference_FHWC, strict=True)
    ]
    return float(np.mean(of_frames))


def flicker(frames_FHWC: np.ndarray) -> float:
    """Mean absolute second difference along time, |x[t-1] - 2 x[t] + x[t+1]|, in levels of 255.

    0 for a still clip and for one that fades evenly; what comes and goes from frame to frame counts most. Edges that
    move count too: compare it between clips that show the same.

    Raises:
        InputError: the clip has fewer than 3 frames.
    """
    _check_clip(frames_FHWC)
    if len(frames_FHWC) < 3:
        raise InputError(f"the clip has {len(frames_FHWC)} frames; allowed are 3 or more: give a longer one")
    return float(np.abs(np.diff(frames_FHWC.astype(float), n=2, axis=0)).mean())


def faithfulness(video_FHWC: np.ndarray, preview_FHWC: np.ndarray) -> float:
    """PSNR in dB of the video, averaged by area down to the preview's size, against the preview.

    High where the video shows what the preview showed: details that were added average out.

    Raises:
        InputError: these are not clips of as many frames.
    """
    _check_clip(preview_FHWC)
    return psnr(area_downsample(video_FHWC, *preview_FHWC.shape[1:3]), preview_FHWC)


def area_downsample(frames_FHWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mean over the area of each new pixel, float32; any ratio.

    Raises:
        InputError: the new size is larger, or these are no frames.
    """
    _check_clip(frames_FHWC)
    if not (0 < height <= frames_FHWC.shape[1] and 0 < width <= frames_FHWC.shape[2]):
        raise InputError(
            f"frames of {frames_FHWC.shape[1]} x {frames_FHWC.shape[2]} pixels cannot be averaged to {height} x "
            f"{width}; allowed are sides up to theirs: give a smaller size"
        )
    rows, columns = (_shares(old, new) for old, new in zip(frames_FHWC.shape[1:3], (height, width), strict=True))
    low_FWCh = np.tensordot(frames_FHWC.astype(np.float32), rows, (1, 1))  # moves the new side to the end
    return np.moveaxis(np.tensordot(low_FWCh, columns, (1, 1)), 1, -1)


def _shares(num_old: int, num_new: int) -> np.ndarray:
    """What each old pixel gives to each new one, float32, (new, old); exact where Pillow's box takes whole pixels."""
    edges = np.arange(num_new + 1) * (num_old / num_new)
    old = np.arange(num_old)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return (overlap.clip(0) * (num_new / num_old)).astype(np.float32)


def _check_pair(frames_FHWC: np.ndarray, reference_FHWC: np.ndarray) -> None:
    _check_clip(frames_FHWC)
    if frames_FHWC.shape != reference_FHWC.shape:
        raise InputError(
            f"the clips have shapes {frames_FHWC.shape} and {reference_FHWC.shape}; allowed are equal ones: resize or "
            "cut one to the other's"
        )


def _check_clip(frames_FHWC: np.ndarray) -> None:
    is_scale = frames_FHWC.dtype == np.uint8 or np.issubdtype(frames_FHWC.dtype, np.floating)
    if frames_FHWC.ndim != 4 or frames_FHWC.shape[-1] != 3 or 0 in frames_FHWC.shape or not is_scale:
        raise InputError(
            f"the clip is {frames_FHWC.dtype} of shape {frames_FHWC.shape}; allowed are uint8 or float frames "
            "(F, H, W, 3) on the scale 0..255: convert them first"
        )
