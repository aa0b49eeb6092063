"""Attention kernels: one that is there runs, another is refused by name."""

import pytest
import torch

from fv_ray.errors import InputError
from fv_ray.models.attention import check_attention_backend

CPU = torch.device("cpu")


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_a_kernel_that_runs_here(backend: str) -> None:
    check_attention_backend(backend, CPU, torch.float32)


def test_a_kernel_that_does_not_run_here() -> None:
    with pytest.raises(InputError, match="'_native_cudnn' does not run on cpu in torch.float32 .*; try native"):
        check_attention_backend("_native_cudnn", CPU, torch.float32)


def test_a_kernel_that_is_none() -> None:
    with pytest.raises(InputError, match="there is no attention backend 'fast'; diffusers has .*native"):
        check_attention_backend("fast", CPU, torch.float32)
