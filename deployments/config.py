"""What a person may set of the service: every field has a default that works on a laptop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from fv_ray.checkpoint import DEFAULT_MODEL
from fv_ray.prompts.enhanced import EnhancerKind
from fv_ray.types import Value

Seconds = Annotated[float, Field(gt=0, le=86_400 * 400)]
Count = Annotated[int, Field(ge=1)]


class StageConfig(Value):
    """One stage's replicas."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    """0 lets an idle stage give its GPUs back."""
    max_replicas: Count = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    """Of each replica: 1, a fraction, or 0 for a small model on the CPU."""
    num_cpus: Annotated[float, Field(ge=0)] = 1
    upscale_delay_s: Annotated[float, Field(ge=0)] = 10
    downscale_delay_s: Annotated[float, Field(ge=0)] = 300
    """Longer than loading the weights three times, so that replicas do not flap."""
    look_back_s: Annotated[float, Field(gt=10)] = 30
    """Requests at hand are averaged over it; longer than the 10 s after which Serve's handles tell of them."""
    device: str | None = None
    """cuda, cpu ... Default: cuda where num_gpus is more than 0."""
    dtype: Literal["bfloat16", "float32"] | None = None
    """Default: bfloat16 on a GPU, float32 on a CPU."""
    attention_backend: str = "native"
    """diffusers' name of an attention kernel."""
    stall_s: Seconds = 90
    """A step that takes longer is taken for hung: its replica is replaced and the work goes to another."""
    max_request_s: Seconds = 600
    """How long a replica that is to stop may go on with its last request."""


class EnhancerConfig(Value):
    """What rewrites prompts to captions, and its replicas."""

    kind: EnhancerKind = "rules"
    """rules: for the default model, without a language model. openai: an endpoint. vllm: a model in the replicas."""
    model: str | None = None
    """openai: as the endpoint calls it. vllm: a folder, under one path on all nodes."""
    base_url: str | None = None
    """openai: of an endpoint that speaks OpenAI's protocol, with its /v1."""
    api_key_env: str = "OPENAI_API_KEY"
    """openai: the variable that holds the key, in the environment of the nodes."""
    timeout_s: Seconds = 30
    """How long a request waits for its prompt."""
    on_failure: Literal["continue", "fail"] = "continue"
    """Where the enhancer does not answer: go on with the user's prompt and say so, or refuse the request."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Count = 1
    num_gpus: Annotated[float, Field(ge=0)] = 0
    """vllm: of each replica; a fraction shares a GPU with a stage."""
    num_cpus: Annotated[float, Field(ge=0)] = 0
    max_ongoing_requests: Count = 32
    """Of a replica; vLLM works on them at the same time."""
    max_queued_requests: Count = 200
    """Beyond them, for a replica to be free; what comes then is not enhanced."""
    max_model_len: Annotated[int, Field(ge=512)] = 4096
    """vllm: tokens of the instructions, a prompt, and up to three answers."""
    quantization: str | None = None
    """vllm: fp8 halves the memory of bfloat16 weights as they are loaded."""
    kv_cache_mb: Count | None = None
    """vllm: memory for prompts at work; None: what its share of the GPU leaves."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needed = {"rules": (), "openai": ("base_url", "model"), "vllm": ("model",)}[self.kind]
        for name in ("base_url", "model"):
            if (getattr(self, name) is not None) != (name in needed):
                uses = f"needs {' and '.join(needed)}" if needed else "needs neither base_url nor model"
                raise ValueError(
                    f"enhancer.{name} is {getattr(self, name)!r} and enhancer.kind is {self.kind!r}, which {uses}: "
                    "set the kind that you mean"
                )
        return self


class Limits(Value):
    """What a request may be; sizes and frames are the checkpoint's own."""

    max_body_bytes: Count = 65_536
    body_timeout_s: Seconds = 10
    """For a body to arrive whole."""
    max_header_bytes: Count = 16_384
    """Of all headers with the URL."""
    max_prompt_characters: Count = 2_000
    max_device_seconds: Seconds | None = None
    """Of one video, by the estimate; None: no limit."""
    max_queued: Count = 10_000
    """Of all tenants; above it, 503."""
    max_queued_per_tenant: Count = 1_000
    """Above it, 429."""
    max_event_streams: Count = 100
    """That an ingress replica sends at one time; above it, 503."""


class BatchLimits(Value):
    """What a batch and its files may be, and how much of it is in the queue."""

    max_file_bytes: Count = 200 * 2**20
    """Of an input file."""
    max_rows: Count = 50_000
    max_line_bytes: Count = 65_536
    upload_timeout_s: Seconds = 300
    """For an input file to arrive whole."""
    max_open_batches: Count = 100
    """Of a tenant; above it, 429."""
    max_open_rows: Count = 1_000
    """Of a batch, that wait for a stage or run; the others follow as these end."""
    look_every_s: Seconds = 2
    """How often a batch looks which of its videos have ended."""


class Retention(Value):
    """How long results are kept."""

    preview_s: Seconds = 7 * 86_400
    video_s: Seconds = 30 * 86_400
    file_s: Seconds = 30 * 86_400
    """Of input and output files, where the client asks for no other time."""
    record_s: Seconds = 90 * 86_400
    """Of rows that the API lists."""
    usage_s: Seconds = 395 * 86_400
    sweep_every_s: Seconds = 3_600


class AppConfig(Value):
    """The service."""

    checkpoint: Path = DEFAULT_MODEL
    database_url: str = "sqlite:///fv-ray-service/videos.sqlite"
    """sqlite:///FILE on a local disk, or postgresql://USER:PASSWORD@HOST/DATABASE."""
    storage_url: str = "fv-ray-service/artifacts"
    """A folder or an fsspec URL that every replica reaches."""
    api_key: Annotated[SecretStr, Field(min_length=1)] | None = None
    """What clients send as `Authorization: Bearer KEY`. Also FV_RAY_API_KEY."""
    insecure_no_auth: bool = False
    """Without a key, the service answers on loopback addresses alone, unless this is set."""
    num_ingress_replicas: Count = 1
    num_orchestrators: Count = 1
    """Fixed: a replica's rank owns the jobs that it runs."""
    first_retry_s: Seconds = 5
    """How long a video waits for its second try, more or less; then twice as long each time, up to five minutes."""
    health_check_timeout_s: Seconds = 60
    """Three checks of a replica in a row that take longer replace it. A call into CUDA may hold the interpreter."""
    stage_one: StageConfig = StageConfig(stall_s=60)
    stage_two: StageConfig = StageConfig()
    enhancer: EnhancerConfig | None = None
    """None: prompts are taken as they are."""
    limits: Limits = Limits()
    batches: BatchLimits = BatchLimits()
    retention: Retention = Retention()
    signed_url_s: Seconds | None = None
    """Redirect downloads to the object store with links that live this long; None: the service sends the bytes."""

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, values: Any) -> Any:  # noqa: ANN401
        """`enhancer.kind=rules`, as `serve run` gives it, is a value of `enhancer`."""
        if not isinstance(values, Mapping):
            return values
        nested: dict[str, Any] = {name: value for name, value in values.items() if "." not in str(name)}
        for name, value in values.items():
            outer, dot, inner = str(name).partition(".")
            if dot:
                before = nested.get(outer)
                nested[outer] = {**(before if isinstance(before, Mapping) else {}), inner: value}
        return nested
