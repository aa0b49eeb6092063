"""Guidance: its fixed points and its chaotic weights."""

import torch

from fv_ray import guidance


def test_scale_1_is_the_conditional_prediction_and_0_the_unconditional() -> None:
    unconditional, conditional = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(guidance.guide(unconditional, conditional, 1.0), conditional)
    torch.testing.assert_close(guidance.guide(unconditional, conditional, 0.0), unconditional)


def test_dynamic_weights_stay_between_1_and_1_plus_scale() -> None:
    weights = guidance.dynamic_guidance_scales(torch.arange(1000), 51, 8.0)
    assert weights.min() >= 1
    assert weights.max() <= 9


def test_dynamic_weights_of_the_released_steps() -> None:
    weights = guidance.dynamic_guidance_scales(torch.tensor([999, 979, 959, 940, 58, 39, 19]), 51, 8.0)
    published = torch.tensor([8.29, 4.0, 2.4, 5.05, 1.0, 1.0, 1.19], dtype=torch.float64)
    torch.testing.assert_close(weights, published, atol=0.01, rtol=0)


def test_scale_0_gives_weight_1() -> None:
    assert (guidance.dynamic_guidance_scales(torch.arange(0, 1000, 7), 50, 0.0) == 1).all()


def test_unconditional_embedding_is_zero_and_first() -> None:
    embeds = torch.randn(2, 3, 4)
    pair = guidance.with_unconditional(embeds)
    assert (pair[:2] == 0).all()
    assert torch.equal(pair[2:], embeds)
