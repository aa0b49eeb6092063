"""What a stage is asked for, as one key: equal keys mean that the stored result may be taken.

A key is the SHA-256 of RFC 8785's canonical JSON, so that neither the order of fields nor the spelling of numbers
matters. Every field of a stage's sampling is in it; fields of the other stage are not.
"""

import hashlib
import unicodedata
from typing import Any

import rfc8785

from fv_ray.artifact_store import Stage
from fv_ray.types import StageOneSampling, StageTwoSampling, VideoRequest
from fv_ray.video_io import Encoding

SCHEMA = "fv-ray/work/1"
"""Of the canonical JSON below. Raise it with any change of its fields: every result is then made anew."""

NUMERICS_VERSION = 1
"""Of the numbers that this code makes from equal requests and checkpoints.

Raise it in the change that makes people see another video: in a sampler, a schedule, a rule of seeds or noise, the
order of random draws, the VAE's path, or what is encoded and stored. Leave it for a change within the tolerance of the
parity tests, such as a faster kernel: another kind of device differs as much, and its stored result is taken too.
"""


def stage_one_work_key(request: VideoRequest, checkpoint_digest: str, *, salt: str = "") -> str:
    """The key of a preview.

    Args:
        request: of which stage two's part does not matter.
        checkpoint_digest: of the whole folder.
        salt: a secret of whoever may share results; another salt, no shared result.
    """
    return _key("stage_one", request.prompt, request.seed, request.stage_one, checkpoint_digest, salt)


def stage_two_work_key(
    request: VideoRequest, checkpoint_digest: str, *, preview_sha256: str, encoding: Encoding, salt: str = ""
) -> str:
    """The key of a video.

    Args:
        request: of which stage one's part does not matter: the preview stands for it.
        checkpoint_digest: of the whole folder.
        preview_sha256: of the file with the preview's latents.
        encoding: of the mp4.
        salt: as in `stage_one_work_key`.
    """
    preview = {"preview_sha256": preview_sha256, "encoding": {"crf": encoding.crf, "preset": encoding.preset}}
    seed = request.stage_two_seed
    return _key("stage_two", request.prompt, seed, request.stage_two, checkpoint_digest, salt, **preview)


def _key(
    stage: Stage,
    prompt: str,
    seed: int,
    sampling: StageOneSampling | StageTwoSampling,
    checkpoint_digest: str,
    salt: str,
    **more: Any,  # noqa: ANN401
) -> str:
    work = {
        "schema": SCHEMA,
        "numerics_version": NUMERICS_VERSION,
        "salt": salt,
        "stage": stage,
        "prompt": unicodedata.normalize("NFC", sampling.prompt_prefix + prompt),
        "seed": str(seed),  # canonical JSON has no integers above 2^53
        "sampling": sampling.model_dump(exclude={"prompt_prefix", "seed"}),
        "checkpoint_digest": checkpoint_digest,
        **more,
    }
    return hashlib.sha256(rfc8785.dumps(work)).hexdigest()
