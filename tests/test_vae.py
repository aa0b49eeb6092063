import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fv_ray import vae
from fv_ray.errors import CheckpointError, InputError
from fv_ray.noise import RecordedNoise, SeededNoise

RTOL, ATOL = 1e-5, 2e-5


def tiny_vae(**changes: object) -> AutoencoderKLCogVideoX:
    """A stock autoencoder with every weight random, norms included; it encodes in the released chunks of frames."""
    torch.manual_seed(0)
    config = {"block_out_channels": (8, 16, 16, 8), "layers_per_block": 1, "norm_num_groups": 4} | changes
    stock = AutoencoderKLCogVideoX(**config).eval()
    for name, parameter in stock.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.2)
    stock.num_sample_frames_batch_size = 16
    return stock


@pytest.fixture(scope="module")
def stock() -> AutoencoderKLCogVideoX:
    return tiny_vae()


def latents(num_latents: int, height: int = 2, width: int = 3, batch: int = 1) -> Tensor:
    return SeededNoise(1)((batch, 16, num_latents, height, width))


def frames(num_frames: int, height: int = 16, width: int = 24, batch: int = 1) -> Tensor:
    return SeededNoise(2)((batch, 3, num_frames, height, width)).clamp(-1, 1)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=RTOL, atol=ATOL)


@torch.no_grad()
def stock_decode(stock: AutoencoderKLCogVideoX, latents_BCFHW: Tensor) -> Tensor:
    return stock.decode(latents_BCFHW).sample


@torch.no_grad()
def stock_moments(stock: AutoencoderKLCogVideoX, frames_BCFHW: Tensor) -> Tensor:
    return stock.encode(frames_BCFHW).latent_dist.parameters


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 3), (5, 3, 2), (7, 1, 4)])
@pytest.mark.parametrize("batch", [1, 2])
def test_decodes_an_odd_number_of_latents_like_the_stock_autoencoder(
    stock: AutoencoderKLCogVideoX, shape: tuple[int, int, int], batch: int
) -> None:
    z = latents(*shape, batch=batch)
    assert_close(vae.decode(stock, z), stock_decode(stock, z))


@pytest.mark.parametrize("num_frames", [1, 5, 9, 17, 21, 33, 45])
@pytest.mark.parametrize("batch", [1, 2])
def test_encodes_like_the_stock_autoencoder(stock: AutoencoderKLCogVideoX, num_frames: int, batch: int) -> None:
    x = frames(num_frames, batch=batch)
    moments = vae.moments(stock, x)
    assert moments.shape == (batch, 32, 1 + (num_frames - 1) // 4, 2, 3)
    assert_close(moments, stock_moments(stock, x))


@pytest.mark.parametrize(
    "changes",
    [
        {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 2},
        {
            "block_out_channels": (4, 8, 16),
            "down_block_types": ("CogVideoXDownBlock3D",) * 3,
            "up_block_types": ("CogVideoXUpBlock3D",) * 3,
        },
        {"norm_num_groups": 1, "latent_channels": 4, "act_fn": "swish"},
    ],
)
def test_runs_other_configurations_like_the_stock_autoencoder(changes: dict[str, object]) -> None:
    stock = tiny_vae(**changes)
    z = latents(5)[:, : stock.config.latent_channels]
    assert_close(vae.decode(stock, z), stock_decode(stock, z))
    assert_close(vae.moments(stock, frames(17)), stock_moments(stock, frames(17)))


@pytest.mark.parametrize("num_latents", [2, 4, 6])
def test_an_even_number_of_latents_also_gives_one_frame_and_then_four_each(
    stock: AutoencoderKLCogVideoX, num_latents: int
) -> None:
    z = latents(num_latents)
    decoded = vae.decode(stock, z)
    assert decoded.shape[2] == 1 + 4 * (num_latents - 1)
    assert_close(decoded[:, :, :5], vae.decode(stock, z[:, :, :2]))


@pytest.mark.parametrize("slices", [1, 2])
def test_streams_what_it_decodes_at_once(stock: AutoencoderKLCogVideoX, slices: int) -> None:
    z = latents(7, width=5)
    chunks = list(vae.decode_chunks(stock, z, slices=slices))
    assert [chunk.shape[2] for chunk in chunks] == [9, 8, 8]
    assert torch.equal(torch.cat(chunks, dim=2), vae.decode(stock, z, slices=slices))


def test_decodes_no_chunk_before_it_is_asked_for(stock: AutoencoderKLCogVideoX) -> None:
    z = latents(5)
    chunks = vae.decode_chunks(stock, z)
    first = next(chunks)
    z[:, :, 3:] = 0
    assert_close(first, vae.decode(stock, z[:, :, :3]))
    assert_close(torch.cat([first, next(chunks)], dim=2), vae.decode(stock, z))


@pytest.mark.parametrize(
    ("width", "left", "right"),
    [
        (2, (0, 1), (1, 2)),
        (31, (0, 31), (15, 31)),
        (33, (0, 32), (0, 33)),
        (32, (0, 32), (0, 32)),
        (40, (0, 36), (4, 40)),
    ],
)
def test_two_slices_see_16_columns_across_the_cut_where_there_are_as_many(
    stock: AutoencoderKLCogVideoX, width: int, left: tuple[int, int], right: tuple[int, int]
) -> None:
    z = latents(2, height=1, width=width)
    cut = width // 2
    halves = [vae.decode(stock, z[..., slice(*seen)]) for seen in (left, right)]
    expected = torch.cat([halves[0][..., : 8 * cut], halves[1][..., 8 * (cut - right[0]) :]], dim=-1)
    assert_close(vae.decode(stock, z, slices=2), expected)


@pytest.mark.parametrize("constant", ["MAX_CONV_ELEMENTS", "PIECE_ELEMENTS"])
@pytest.mark.parametrize("size", [1, 4000])
def test_the_size_of_pieces_does_not_show(
    stock: AutoencoderKLCogVideoX, monkeypatch: pytest.MonkeyPatch, constant: str, size: int
) -> None:
    z, x = latents(5, batch=2), frames(21, batch=2)
    decoded, moments = vae.decode(stock, z), vae.moments(stock, x)
    monkeypatch.setattr(vae, constant, size)
    assert_close(vae.decode(stock, z), decoded)
    assert_close(vae.moments(stock, x), moments)


@pytest.mark.parametrize(("frames_per_chunk", "lengths"), [(16, [5, 4]), (8, [3, 2, 2, 2]), (48, [9])])
def test_samples_with_one_draw_for_each_chunk(
    stock: AutoencoderKLCogVideoX, frames_per_chunk: int, lengths: list[int]
) -> None:
    shapes = []

    def noise(shape: Sequence[int]) -> Tensor:
        shapes.append(shape)
        return torch.full(tuple(shape), float(len(shapes)))

    sampled = vae.encode(stock, frames(33, batch=2), noise=noise, frames_per_chunk=frames_per_chunk)
    assert shapes == [(2, 16, length, 2, 3) for length in lengths]
    mean, logvar = vae.moments(stock, frames(33, batch=2), frames_per_chunk).chunk(2, dim=1)
    draws = torch.cat([torch.full((2, 16, n, 2, 3), i + 1.0) for i, n in enumerate(lengths)], dim=2)
    assert_close(sampled, mean + draws * logvar.mul(0.5).exp())


def test_the_deviation_is_clamped() -> None:
    moments = torch.tensor([0.0, 100.0]).view(1, 2, 1, 1, 1)
    sampled = vae._sample(moments, RecordedNoise([torch.ones(1, 1, 1, 1, 1)]))
    torch.testing.assert_close(sampled.item(), torch.tensor(10.0).exp().item())


def test_leaves_the_caller_s_tensors_and_the_autoencoder_alone(stock: AutoencoderKLCogVideoX) -> None:
    z, x = latents(3), frames(5)
    weights = {name: weight.clone() for name, weight in stock.state_dict().items()}
    vae.decode(stock, z, slices=2)
    vae.encode(stock, x, noise=SeededNoise(0))
    assert torch.equal(z, latents(3))
    assert torch.equal(x, frames(5))
    assert all(torch.equal(weight, weights[name]) for name, weight in stock.state_dict().items())


def test_training_may_use_the_latents(stock: AutoencoderKLCogVideoX) -> None:
    sampled = vae.encode(stock, frames(5), noise=SeededNoise(0))
    assert not sampled.requires_grad
    weight = torch.ones(1, requires_grad=True)
    (sampled * weight).sum().backward()
    assert weight.grad is not None


def test_results_have_the_dtype_of_the_weights() -> None:
    stock = tiny_vae().to(torch.bfloat16)
    assert vae.encode(stock, frames(5), noise=SeededNoise(0)).dtype == torch.bfloat16
    assert vae.decode(stock, latents(2)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("z", "slices"),
    [(latents(3), 0), (latents(3), 3), (latents(3, width=1), 2), (latents(3)[0], 1), (latents(3)[:, :4], 1)],
)
def test_refuses_at_the_call_what_it_cannot_decode(stock: AutoencoderKLCogVideoX, z: Tensor, slices: int) -> None:
    with pytest.raises(InputError):
        vae.decode_chunks(stock, z, slices=slices)


@pytest.mark.parametrize(
    ("x", "frames_per_chunk"),
    [
        (frames(4), 16),
        (frames(5, height=20), 16),
        (frames(5, width=20), 16),
        (frames(5), 6),
        (frames(5), 0),
        (frames(0), 16),
    ],
)
def test_refuses_what_it_cannot_encode(stock: AutoencoderKLCogVideoX, x: Tensor, frames_per_chunk: int) -> None:
    with pytest.raises(InputError):
        vae.moments(stock, x, frames_per_chunk)


@pytest.mark.parametrize(
    "changes",
    [{"use_quant_conv": True}, {"use_post_quant_conv": True}, {"temporal_compression_ratio": 8}, {"act_fn": "gelu"}],
)
def test_refuses_another_kind_of_autoencoder(changes: dict[str, object]) -> None:
    stock = tiny_vae(**changes)
    with pytest.raises(CheckpointError):
        vae.decode_chunks(stock, latents(3))
    with pytest.raises(CheckpointError):
        vae.moments(stock, frames(5))


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the meta tensors made under it: how many are alive and the most that ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self.alive:
                self.alive[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage._cdata)
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


@pytest.fixture(scope="module")
def full_size() -> AutoencoderKLCogVideoX:
    """The released autoencoder's dimensions in float16, without memory or arithmetic."""
    with torch.device("meta"):
        return AutoencoderKLCogVideoX(block_out_channels=(128, 256, 256, 512), layers_per_block=3).half()


def test_decodes_1072x1920_where_the_stock_autoencoder_fails(full_size: AutoencoderKLCogVideoX) -> None:
    z = torch.empty(1, 16, 3, 134, 240, dtype=torch.float16, device="meta")
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        stock_decode(full_size, z)
    assert vae.decode(full_size, z).shape == (1, 3, 9, 1072, 1920)
    assert vae.decode(full_size, z, slices=2).shape == (1, 3, 9, 1072, 1920)


def test_activations_of_1072x1920_stay_below_42_gb(full_size: AutoencoderKLCogVideoX) -> None:
    """The stock autoencoder, once its convolution is mended, needs 94 GB to decode and 61 GB to encode."""
    with LiveBytes() as decoding:
        vae.decode(full_size, torch.empty(1, 16, 5, 134, 240, dtype=torch.float16, device="meta"))
    with LiveBytes() as encoding:
        vae.moments(full_size, torch.empty(1, 3, 33, 1072, 1920, dtype=torch.float16, device="meta"))
    assert decoding.peak < 42e9
    assert encoding.peak < 42e9


@pytest.mark.gpu
def test_decodes_1072x1920_on_a_gpu(full_size: AutoencoderKLCogVideoX) -> None:
    autoencoder = AutoencoderKLCogVideoX.from_config(full_size.config).to("cuda", torch.float16)
    torch.cuda.reset_peak_memory_stats()
    frames = vae.decode(autoencoder, torch.randn(1, 16, 5, 134, 240))
    assert frames.shape == (1, 3, 17, 1072, 1920)
    assert torch.cuda.max_memory_allocated() < 60e9  # 41 GB of activations, weights, and the library's workspace
