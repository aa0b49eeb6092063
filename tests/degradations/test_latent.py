"""Latent degradation: variance-preserving, per sample, at the published strength."""

import pytest
import torch

from fv_ray.degradations.latent import degrade_latents


def test_unit_variance_is_kept() -> None:
    latents, noise = torch.randn(2, 4, 16, 32, 32), torch.randn(2, 4, 16, 32, 32)
    degraded = degrade_latents(latents, noise, torch.tensor([675, 100]))
    assert degraded.std().item() == pytest.approx(1, abs=0.01)


def test_each_sample_has_its_own_level() -> None:
    ones, zeros = torch.ones(3, 1, 1, 1, 1), torch.zeros(3, 1, 1, 1, 1)
    kept = degrade_latents(ones, zeros, torch.tensor([400, 675, 999])).flatten()
    torch.testing.assert_close(kept, torch.tensor([0.62601, 0.26396, 0.0]), atol=1e-5, rtol=0)
    added = degrade_latents(zeros, ones, torch.tensor([400, 675, 999])).flatten()
    torch.testing.assert_close(added, torch.tensor([0.77981, 0.96453, 1.0]), atol=1e-5, rtol=0)
