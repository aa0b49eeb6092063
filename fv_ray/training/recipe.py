"""All that decides a training run, as frozen values.

Knows no torch, so that a recipe can be told, compared and refused before anything starts.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fv_ray.checkpoint import FRAMES_PER_LATENT
from fv_ray.types import Finite, Seed, Value

Count = Annotated[int, Field(strict=True, ge=1)]
Index = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[Finite, Field(gt=0)]
Weight = Annotated[Finite, Field(ge=0)]
Share = Annotated[Finite, Field(ge=0, le=1)]


class View(Value):
    """One kind of batch; every step takes one of them."""

    source: str = "clips"
    """Which of the data sets that the command names."""
    weight: Positive = 1.0
    """How often it is taken beside the others."""
    batch_size: Count
    """Samples of a step over all workers."""
    num_frames: Count
    """Of the clips; 1 is pictures."""
    height: Count
    """Pixels of the clips."""
    width: Count
    crop_height: Count | None = None
    """Pixels of the part that a sample shows; none takes all."""
    crop_width: Count | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of a sample in pixels."""
        return self.crop_height or self.height, self.crop_width or self.width

    @model_validator(mode="after")
    def _can_be_coded(self) -> Self:
        if (self.num_frames - 1) % FRAMES_PER_LATENT:
            raise ValueError(f"num_frames is {self.num_frames}; allowed are 1 + 4k")
        for side, shown, whole in zip(("height", "width"), self.shown_size, (self.height, self.width), strict=True):
            if shown > whole or shown % 16:
                raise ValueError(
                    f"a sample's {side} is {shown} of {whole} pixels; allowed are multiples of 16 up to it"
                )
        return self


class Recipe(Value):
    """What every part of the model is trained with."""

    name: str
    num_steps: Count
    """Updates of the weights."""
    views: Annotated[tuple[View, ...], Field(min_length=1)]
    learning_rate: Positive
    """Reached after the warm-up, then constant."""
    warmup_steps: Index = 0
    """The learning rate rises linearly."""
    decay_steps: Index = 0
    """The last so many steps lower the learning rate linearly to a hundredth; 0 keeps it constant."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """[paper] AdamW. Muon takes the matrices and leaves the rest to AdamW: for small models from nothing."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: Weight = 1e-4
    max_grad_norm: Positive = 0.1
    ema_decay: Annotated[Finite, Field(ge=0, lt=1)] = 0.0
    """Of the averaged weights, which are what is saved; 0 saves the weights themselves."""
    accumulation_steps: Count = 1
    """Parts in which a worker goes through its samples of a step."""
    gradient_checkpointing: bool = False
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the matrix products; weights, gradients' sums and the optimiser are float32."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Every worker holds all weights, or a share of each (FSDP2)."""
    seed: Seed = 0
    """Of the data's order and of every draw; with the step and the sample it decides them."""
    log_every: Count = 10
    checkpoint_every: Count = 1000
    """Steps; the last step is always saved."""
    sample_every: Index = 0
    """Steps between sample videos, a multiple of `checkpoint_every`; 0 makes none."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.warmup_steps + self.decay_steps > self.num_steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} and decay_steps {self.decay_steps} are more than num_steps "
                f"{self.num_steps}; allowed are sums up to it"
            )
        if self.optimizer == "muon" and self.strategy == "fsdp":
            raise ValueError("optimizer is muon and strategy fsdp; allowed is muon with ddp: it needs whole matrices")
        if self.sample_every % self.checkpoint_every:
            raise ValueError(
                f"sample_every is {self.sample_every}; allowed are multiples of checkpoint_every "
                f"{self.checkpoint_every}, since samples are made of what is saved"
            )
        return self


class VAERecipe(Recipe):
    """Reconstruction with a little KL; for the small model."""

    part: Literal["vae"] = "vae"
    kl_weight: Weight = 1e-4
    gradient_weight: Weight = 1.0
    """Of the differences between neighbouring pixels, which keep edges and textures sharp."""
    squared_weight: Weight = 25.0
    """Of the squared error, beside the absolute one's 1: it finds colours and shapes of what is small first."""

    @model_validator(mode="after")
    def _is_trained_whole(self) -> Self:
        for view in self.views:
            if (view.num_frames - 1) % (2 * FRAMES_PER_LATENT):
                raise ValueError(
                    f"num_frames is {view.num_frames}; allowed are 1 + 8k, since the stock decoder brings back other "
                    "lengths wrongly in one piece"
                )
        return self


class StageOneRecipe(Recipe):
    """v-prediction over the whole range of timesteps."""

    part: Literal["stage_one"] = "stage_one"
    text_dropout: Share = 0.1
    """[released] Share of prompts replaced by the zero embedding."""
    lora_rank: Index = 0
    """0 trains all weights; else LoRA layers of this rank beside the attention's frozen projections."""
    trains_text_encoder: bool = False
    """Only where it was made anew with the transformer."""


class StageTwoRecipe(Recipe):
    """Flow matching from degraded to clean latents."""

    part: Literal["stage_two"] = "stage_two"
    text_dropout: Share = 0.1
    noise_levels: tuple[Index, Index] = (650, 750)
    """Both ends included; (0, 0) leaves out the latent degradation."""
    first_noise_levels: tuple[Index, Index] | None = None
    """Of the first `num_first_steps` steps instead."""
    num_first_steps: Index = 0
    shift: Positive = 1.0
    """Of the drawn times; [paper] 1, uniform."""
    pixel_degradation: bool = True
    """Without it, stage two starts from the clean clip's latents."""
    starts_from_noise: bool = False
    """A plain flow from noise to the clip instead, for comparison."""

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        for levels in (self.noise_levels, self.first_noise_levels or (0, 0)):
            if not levels[0] <= levels[1] < 1000:
                raise ValueError(f"noise_levels are {levels}; allowed are 0 to 999 in rising order")
        return self

    def noise_levels_at(self, step: int) -> tuple[int, int]:
        """The levels that step `step`, from 0, draws from."""
        is_first = self.first_noise_levels is not None and step < self.num_first_steps
        return self.first_noise_levels if is_first and self.first_noise_levels else self.noise_levels


AnyRecipe = VAERecipe | StageOneRecipe | StageTwoRecipe
