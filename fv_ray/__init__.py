"""FlashVideo (arXiv 2502.05179): a prompt to a low-resolution preview to a high-resolution video.

`StageOne`, `StageTwo` and `TextToVideo` are imported from their own modules, so that importing the values of this
package (`fv_ray.types`) costs no torch.
"""

__version__ = "0.1.0"
