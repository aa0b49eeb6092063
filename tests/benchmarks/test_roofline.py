"""Operations at the released sizes against those counted of the released model's design, in TFLOP."""

import pytest
import torch

from benchmarks import roofline
from benchmarks.random_stages import META, Stages, Subject, meta_stages, released


@pytest.fixture(scope="module")
def subject() -> Subject:
    return released()


@pytest.fixture(scope="module")
def stages(subject: Subject) -> Stages:
    return meta_stages(subject)


def test_the_models_have_the_released_sizes(stages: Stages) -> None:
    sizes = [
        sum(parameter.numel() for parameter in module.parameters())
        for module in (stages.stage_one.transformer, stages.stage_two.transformer, stages.stage_one.vae)
    ]
    assert sizes == [5_570_283_072, 1_696_276_288, 215_583_907]
    assert stages.stage_one.device == META


def test_a_guidance_pair_of_each_transformer(subject: Subject, stages: Stages) -> None:
    assert roofline.count_stage_one(subject, stages) == pytest.approx(166.2e12, rel=1e-3)
    assert roofline.count_stage_two(subject, stages) == pytest.approx(5612e12, rel=1e-3)


def test_encoding(subject: Subject, stages: Stages) -> None:
    assert roofline.count_encode(subject, stages) == pytest.approx(887e12, rel=1e-3)


def test_decoding_costs_a_little_less_than_the_stock_decoder(subject: Subject, stages: Stages) -> None:
    """Frames that doubling the time makes equal are convolved once, and 1x1 convolutions run before upsampling."""
    stock_preview, stock_video = 112.0e12, 1876e12
    preview = roofline.count_preview_decode(subject, stages)
    assert 0.97 * stock_preview < preview < stock_preview
    assert 0.97 * stock_video < roofline.count_video_decode(subject, stages, slices=1) < stock_video


def test_a_product_of_matrices_counts_two_operations_a_multiplication() -> None:
    a, b = torch.empty(3, 5, device=META), torch.empty(5, 7, device=META)
    assert roofline.count_flops(lambda: a @ b) == 2 * 3 * 5 * 7


def test_the_ceiling_is_a_speed() -> None:
    assert roofline.measure_matmul_ceiling(torch.device("cpu"), torch.float32) > 1e6
