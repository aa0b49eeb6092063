"""torch's Muon for all that is a matrix, convolutions included.

Muon (Jordan et al. 2024) makes each update of a matrix orthogonal: from nothing, small models learn in a fraction of
AdamW's steps. torch's takes matrices alone; here a convolution's kernel is the matrix of its flattened filters, as the
method's authors do.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MatrixMuon:
    """An optimiser over named weights of two or more dimensions; its learning rate means what AdamW's does."""

    def __init__(self, weights: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        self._weights = dict(weights)
        # The same memory under another shape: what Muon writes is the weight.
        self._matrices = {name: nn.Parameter(each.detach().flatten(1)) for name, each in weights.items()}
        for name, matrix in self._matrices.items():
            assert matrix.data_ptr() == weights[name].data_ptr(), name
        self._muon = torch.optim.Muon(
            self._matrices.values(), lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.momenta: dict[str, Tensor] = {}
        """By the weights' names; to be saved and copied into."""
        for name, matrix in self._matrices.items():
            self.momenta[name] = torch.zeros_like(matrix)
            self._muon.state[matrix]["momentum_buffer"] = self.momenta[name]

    def step(self, learning_rate: float) -> None:
        """Update the weights by their gradients."""
        for name, matrix in self._matrices.items():
            gradient = self._weights[name].grad
            matrix.grad = None if gradient is None else gradient.flatten(1)
        for group in self._muon.param_groups:
            group["lr"] = learning_rate
        self._muon.step()  # type: ignore[no-untyped-call]  # torch says nothing of its types
