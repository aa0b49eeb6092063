"""What a client asked for to a complete request: nothing is filled in after this."""

from __future__ import annotations

import hashlib
import json
import secrets
import time

from pydantic import BaseModel

from deployments.database.records import DERIVED_KEY, Kind, NewVideo, VideoRecord
from deployments.http.bodies import CommitBody, CreateBody, RemixBody, StageOneChanges, StageTwoChanges
from deployments.http.errors import ApiError, conflict
from deployments.http.service import TENANT, Service
from fv_ray.checkpoint import Preset, shortened
from fv_ray.prompts.enhanced import Enhanced
from fv_ray.sizes import Asked, PixelSize, Sides, asked_clip, changed_size
from fv_ray.types import MAX_SEED, VideoRequest, with_prompt

KINDS: dict[str, Kind] = {"flashvideo": "full", "flashvideo-preview": "preview"}
"""What is made, by the model that a client names."""
PLACE = "flashvideo."
"""Of our own parameters in a body."""


def created(service: Service, body: CreateBody, key: str | None) -> NewVideo:
    """A video of a prompt.

    Raises:
        ApiError: it cannot be made.
        InputError: as above, of a stage's parameters.
    """
    if body.model not in KINDS:
        message = f"the model {shortened(body.model)} does not exist; use {' or '.join(KINDS)}"
        raise ApiError(404, "model_not_found", message, param="model")
    check_prompt(service, body.prompt)
    request = _request(service, body)
    return _new(service, KINDS[body.model], body.model, request, key=key, request_hash=hash_of("create", body))


def remixed(service: Service, video: VideoRecord, body: RemixBody, key: str | None) -> NewVideo:
    """A video of an edited prompt, with the same parameters and seed: so the edit is what changes.

    A remix of a committed preview is a full video: a prompt cannot change what a preview shows.

    Raises:
        ApiError: it cannot be made.
        InputError: this checkpoint cannot make what the first video's did.
    """
    check_prompt(service, body.prompt)
    seed = _one_seed(body.seed, body.flashvideo.seed)
    request = with_prompt(video.request, body.prompt)
    if seed is not None:
        request = request.model_copy(update={"seed": seed})
    service.checkpoint.check(request)
    kind: Kind = "preview" if video.kind == "preview" else "full"
    model = next(model for model, its_kind in KINDS.items() if its_kind == kind)
    request_hash = hash_of(f"remix {video.id}", body)
    return _new(service, kind, model, request, key=key, request_hash=request_hash, parent_id=video.id)


def committed(service: Service, preview: VideoRecord, body: CommitBody, key: str | None) -> NewVideo:
    """The video of a preview: stage two alone. Without a key, the same commit is known by itself.

    Raises:
        ApiError: it cannot be made, or the preview is not one that can be committed.
        InputError: this checkpoint cannot make it.
    """
    _check_committable(service, preview)
    if body.prompt is not None:
        check_prompt(service, body.prompt)
    changes = body.flashvideo.stage_two
    before = preview.request.stage_two
    size = changed_size(
        PixelSize(before.width, before.height),
        _sides(changes),
        service.checkpoint.stage_two_limits,
        f"{PLACE}stage_two",
    )
    changed = changes.model_dump(exclude_none=True) | {"width": size.width, "height": size.height}
    if (seed := _one_seed(body.seed, changes.seed)) is not None:
        changed["seed"] = seed
    request = VideoRequest.model_validate(
        preview.request.model_dump()
        | {"stage_two": before.model_dump() | changed}
        | ({} if body.prompt is None else {"prompt": body.prompt})
    )
    service.checkpoint.check(request)
    same = hash_of(f"commit {preview.id}", request)  # in whatever words it is asked for
    return _new(
        service,
        "commit",
        "flashvideo",
        request,
        key=key,
        own_key=f"{DERIVED_KEY}{preview.id}/{same}",
        request_hash=same if key is None else hash_of(f"commit {preview.id}", body),
        preview=preview,
        # The preview's prompt, word for word; another one is taken as it is.
        enhancement=preview.enhancement if body.prompt is None else None,
    )


def client_key(key: str) -> str:
    """A client's idempotency key, apart from those that the service makes itself."""
    return f"client/{key}"


def hash_of(what: str, asked: BaseModel) -> str:
    """Of what is to be done and what it is asked with, to know the same request again."""
    return hashlib.sha256(json.dumps((what, asked.model_dump()), sort_keys=True).encode()).hexdigest()


def check_prompt(service: Service, prompt: str) -> None:
    """Refuse a prompt that is longer than this service takes. Raises: ApiError."""
    most = service.config.limits.max_prompt_characters
    if len(prompt) > most:
        message = f"the prompt has {len(prompt)} characters; allowed are {most}; shorten it"
        raise ApiError(400, "string_above_max_length", message, param="prompt")


def _request(service: Service, body: CreateBody) -> VideoRequest:
    checkpoint, extras = service.checkpoint, body.flashvideo
    preset = _preset(service, extras.preset)
    asked = Asked(
        size=body.size,
        seconds=None if body.seconds is None else str(body.seconds),
        num_frames=extras.num_frames,
        stage_one=_sides(extras.stage_one),
        stage_two=_sides(extras.stage_two),
        place=PLACE,
    )
    clip = asked_clip(asked, preset, checkpoint).changes()
    seed = _one_seed(body.seed, extras.seed)
    return checkpoint.request(
        body.prompt,
        seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
        preset=extras.preset,
        stage_one=extras.stage_one.model_dump(exclude_none=True) | clip["stage_one"],
        stage_two=extras.stage_two.model_dump(exclude_none=True) | clip["stage_two"],
    )


def _sides(changes: StageOneChanges | StageTwoChanges) -> Sides:
    return Sides(changes.width, changes.height)


def _preset(service: Service, name: str | None) -> Preset:
    presets = service.checkpoint.presets
    if name is not None and name not in presets:
        message = f"there is no preset {shortened(name)}; this checkpoint has {', '.join(presets)}; use one of them"
        raise ApiError(400, "invalid_value", message, param="flashvideo.preset")
    return presets[name or service.checkpoint.default_preset]


def _new(
    service: Service,
    kind: Kind,
    model: str,
    request: VideoRequest,
    *,
    key: str | None,
    request_hash: str,
    own_key: str | None = None,
    parent_id: str | None = None,
    preview: VideoRecord | None = None,
    enhancement: Enhanced | None = None,
) -> NewVideo:
    return NewVideo(
        tenant=TENANT,
        kind=kind,
        model=model,
        checkpoint_digest=service.checkpoint.digest,
        request=request,
        parent_id=parent_id if preview is None else preview.id,
        preview=None if preview is None else preview.preview,
        idempotency_key=own_key if key is None else client_key(key),
        request_hash=request_hash,
        enhancement=enhancement,
    )


def _check_committable(service: Service, preview: VideoRecord) -> None:
    name = f"video {preview.id}"
    if preview.kind != "preview":
        raise conflict("not_a_preview", f"{name} is no preview; commit one made with model flashvideo-preview")
    if preview.state == "failed":
        raise conflict("preview_failed", f"{name} has failed; make another preview")
    if preview.state != "completed":
        raise conflict("preview_not_ready", f"{name} is {preview.state}; wait until it is completed")
    if preview.preview is None or (preview.expires_at is not None and preview.expires_at <= time.time()):
        raise expired(preview)
    if preview.checkpoint_digest != service.checkpoint.digest:
        message = f"{name} was made with another checkpoint than is served now; make another preview"
        raise conflict("checkpoint_changed", message)


def expired(video: VideoRecord) -> ApiError:
    """A video's files are kept no longer."""
    message = f"the files of video {video.id} are kept no longer; make it again"
    return ApiError(404, "video_expired", message, param="id")


def _one_seed(outer: int | None, inner: int | None) -> int | None:
    if outer is not None and inner is not None and outer != inner:
        raise ApiError(400, "invalid_value", f"two seeds are given, {outer} and {inner}; give one", param="seed")
    return inner if outer is None else outer
