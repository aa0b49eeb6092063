import hashlib
import unicodedata
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fv_ray.types import MAX_SEED, StageOneSampling, StageTwoSampling, VideoRequest
from fv_ray.video_io import MAX_CRF, PRESETS, Encoding
from fv_ray.work_key import stage_one_work_key, stage_two_work_key

FIELDS_ONE: dict[str, st.SearchStrategy[Any]] = {
    "num_inference_steps": st.integers(1, 1000),
    "guidance_scale": st.floats(0, 100),
    "num_frames": st.integers(1, 10**6),
    "height": st.integers(1, 10**6),
    "width": st.integers(1, 10**6),
    "prompt_prefix": st.text(max_size=9),
}
FIELDS_TWO: dict[str, st.SearchStrategy[Any]] = {
    **{
        name: FIELDS_ONE[name] for name in ("num_inference_steps", "guidance_scale", "height", "width", "prompt_prefix")
    },
    "shift": st.floats(0, 100, exclude_min=True),
    "noise_level": st.integers(0, 999),
    "grid_dtype": st.sampled_from(["float32", "bfloat16"]),
    "decode_slices": st.sampled_from([1, 2]),
    "seed": st.none() | st.integers(0, MAX_SEED),
}
DIGESTS = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
REQUESTS = st.builds(
    VideoRequest,
    prompt=st.text(min_size=1, max_size=20).filter(lambda text: text.strip() and "\0" not in text),
    seed=st.integers(0, MAX_SEED),
    stage_one=st.builds(StageOneSampling, **FIELDS_ONE),
    stage_two=st.builds(StageTwoSampling, **FIELDS_TWO),
)

REQUEST = VideoRequest(
    prompt="a red fox",
    seed=MAX_SEED,
    stage_one=StageOneSampling(
        num_inference_steps=50, guidance_scale=8, num_frames=49, height=256, width=480, prompt_prefix="slow, "
    ),
    stage_two=StageTwoSampling(
        num_inference_steps=4, guidance_scale=1.5, height=32, width=64, shift=1, noise_level=675
    ),
)


def key_one(request: VideoRequest, digest: str = "c" * 64, salt: str = "") -> str:
    return stage_one_work_key(request, digest, salt=salt)


def key_two(request: VideoRequest, digest: str = "c" * 64, salt: str = "", **changed: Any) -> str:
    given_: dict[str, Any] = {"preview_sha256": "d" * 64, "encoding": Encoding(), **changed}
    return stage_two_work_key(request, digest, salt=salt, **given_)


def changed(request: VideoRequest, stage: str, field: str, value: Any) -> VideoRequest:
    content = request.model_dump()
    content[stage][field] = value
    return VideoRequest.model_validate(content)


def told(request: VideoRequest, stage: str) -> dict[str, Any]:
    """What a stage is told: a prefix is read as a part of the prompt, a seed may be given or derived."""
    sampling = request.model_dump()[stage]
    prompt = unicodedata.normalize("NFC", sampling.pop("prompt_prefix") + request.prompt)
    return {**sampling, "prompt": prompt, "seed": request.stage_two_seed if stage == "stage_two" else request.seed}


def test_a_key_is_the_digest_of_this_text() -> None:
    """Whatever changes it makes every stored result anew."""
    text = (
        f'{{"checkpoint_digest":"{"c" * 64}","numerics_version":1,"prompt":"slow, a red fox","salt":"tenant",'
        '"sampling":{"guidance_scale":8,"height":256,"num_frames":49,"num_inference_steps":50,"width":480},'
        '"schema":"fv-ray/work/1","seed":"9223372036854775807","stage":"stage_one"}'
    )
    assert key_one(REQUEST, salt="tenant") == hashlib.sha256(text.encode()).hexdigest()
    text = (
        f'{{"checkpoint_digest":"{"c" * 64}","encoding":{{"crf":18,"preset":"medium"}},"numerics_version":1,'
        f'"preview_sha256":"{"d" * 64}","prompt":"a red fox","salt":"","sampling":{{"decode_slices":1,'
        '"grid_dtype":"float32","guidance_scale":1.5,"height":32,"noise_level":675,"num_inference_steps":4,"shift":1,'
        f'"width":64}},"schema":"fv-ray/work/1","seed":"{REQUEST.stage_two_seed}","stage":"stage_two"}}'
    )
    assert key_two(REQUEST) == hashlib.sha256(text.encode()).hexdigest()


def test_the_fields_below_are_all_there_are() -> None:
    assert FIELDS_ONE.keys() == StageOneSampling.model_fields.keys()
    assert FIELDS_TWO.keys() == StageTwoSampling.model_fields.keys()
    assert VideoRequest.model_fields.keys() == {"prompt", "seed", "stage_one", "stage_two"}


CHANGES = [
    *(("stage_one", field, values) for field, values in FIELDS_ONE.items()),
    *(("stage_two", field, values) for field, values in FIELDS_TWO.items()),
]


@settings(max_examples=50, deadline=None)
@given(REQUESTS, st.sampled_from(CHANGES), st.data())
def test_a_stages_fields_change_its_key_alone(
    request: VideoRequest, change: tuple[str, str, st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    stage, field, values = change
    other = changed(request, stage, field, data.draw(values))
    assume(told(other, stage) != told(request, stage))
    assert (key_one(other) != key_one(request)) == (stage == "stage_one")
    assert (key_two(other) != key_two(request)) == (stage == "stage_two")


@settings(max_examples=50, deadline=None)
@given(REQUESTS, REQUESTS)
def test_prompt_and_seed_change_both_keys(request: VideoRequest, other: VideoRequest) -> None:
    content = request.model_dump()
    content["stage_two"]["seed"] = None
    request = VideoRequest.model_validate(content)
    prompted = VideoRequest.model_validate({**content, "prompt": other.prompt})
    seeded = VideoRequest.model_validate({**content, "seed": other.seed})
    assume(all(told(prompted, stage) != told(request, stage) for stage in ("stage_one", "stage_two")))
    assume(seeded.seed != request.seed)
    assert len({key_one(request), key_one(prompted), key_one(seeded)}) == 3
    assert len({key_two(request), key_two(prompted), key_two(seeded)}) == 3


@settings(max_examples=50, deadline=None)
@given(REQUESTS, DIGESTS, DIGESTS, st.text(max_size=9))
def test_all_else_that_decides_a_result_changes_the_key(request: VideoRequest, one: str, two: str, salt: str) -> None:
    assume(one != two and salt != "")
    assert len({key_one(request, one), key_one(request, two), key_one(request, one, salt)}) == 3
    assert len({key_two(request, one), key_two(request, two), key_two(request, one, salt), key_one(request, one)}) == 4
    assert key_two(request, preview_sha256=one) != key_two(request, preview_sha256=two)


def test_every_encoding_has_its_own_key() -> None:
    encodings = [Encoding(crf=crf, preset=preset) for crf in range(MAX_CRF + 1) for preset in PRESETS]
    assert len({key_two(REQUEST, encoding=encoding) for encoding in encodings}) == len(encodings)


@settings(max_examples=50, deadline=None)
@given(REQUESTS)
def test_neither_order_nor_the_spelling_of_numbers_matters(request: VideoRequest) -> None:
    content = request.model_dump()
    backwards = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value
        for name, value in reversed(content.items())
    }
    for stage, field in (("stage_one", "guidance_scale"), ("stage_two", "guidance_scale"), ("stage_two", "shift")):
        if (number := content[stage][field]).is_integer():
            backwards[stage][field] = int(number)
    other = VideoRequest.model_validate(backwards)
    assert (key_one(other), key_two(other)) == (key_one(request), key_two(request))


def test_one_text_has_one_key_however_it_is_typed() -> None:
    composed, decomposed = (
        VideoRequest.model_validate({**REQUEST.model_dump(), "prompt": unicodedata.normalize(form, "a café")})
        for form in ("NFC", "NFD")
    )
    assert composed.prompt != decomposed.prompt
    assert (key_one(composed), key_two(composed)) == (key_one(decomposed), key_two(decomposed))


def test_the_prompt_counts_with_its_prefix() -> None:
    """Stage one reads "slow, a red fox" here and there."""
    split_elsewhere = VideoRequest.model_validate(
        {
            **changed(REQUEST, "stage_one", "prompt_prefix", "").model_dump(),
            "prompt": "slow, a red fox",
        }
    )
    assert key_one(split_elsewhere) == key_one(REQUEST)
    assert key_two(split_elsewhere) != key_two(REQUEST)
