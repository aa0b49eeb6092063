"""Muon over matrices and convolutions."""

import torch
from torch import nn

from jobs.training.matrix_muon import MatrixMuon


def trained(layer: nn.Conv3d) -> tuple[MatrixMuon, torch.Tensor]:
    """One step on a fixed loss; what the kernel moved by."""
    muon = MatrixMuon({"weight": layer.weight}, learning_rate=1.0, weight_decay=0.0)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 4, 3, 3, 3)).square().sum().backward()
    muon.step(0.1)
    return muon, layer.weight.detach() - before


def test_a_kernel_moves_by_its_matrix_with_the_rate_of_the_step() -> None:
    torch.manual_seed(0)
    layer = nn.Conv3d(4, 8, 3)
    muon, moved = trained(layer)
    # torch's own scale, 0.2 sqrt(the longer side): each element moves by about a fifth of the rate, as AdamW's would.
    assert 0 < moved.norm() <= 0.1 * 0.2 * (4 * 27) ** 0.5 * 8**0.5 * 1.5
    assert muon.momenta["weight"].shape == (8, 4 * 27)
    assert muon.momenta["weight"].abs().sum() > 0


def test_momenta_that_are_copied_back_give_the_same_next_step() -> None:
    weights = []
    for is_resumed in (False, True):
        torch.manual_seed(0)
        layer = nn.Conv3d(4, 8, 3)
        muon, _ = trained(layer)
        if is_resumed:
            kept = muon.momenta["weight"].clone()
            muon = MatrixMuon({"weight": layer.weight}, learning_rate=1.0, weight_decay=0.0)
            muon.momenta["weight"].copy_(kept)
        layer.weight.grad = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1))
        muon.step(0.1)
        weights.append(layer.weight.detach().clone())
    assert torch.equal(*weights)
