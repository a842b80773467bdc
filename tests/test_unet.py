"""The U-Net: any size, one head for each stage, weights that are carried by name or not at all."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semicon_nb.unet import Body, UNet, carry, check_unet, margins

PARTS = ("encoder", "decoder", "global_head", "pixel_head", "class_head")


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def small(**changes: object) -> UNet:
    return UNet(**{"classes": 3, "width": 2, "global_dim": 5, "pixel_dim": 7, **changes})


def test_the_paper_network_has_31_million_weights() -> None:
    paper = UNet(classes=3, width=64, decoder_norm=False)
    assert count(paper.encoder, paper.decoder, paper.class_head) / 1e6 == pytest.approx(31.0, abs=0.06)
    assert [block[0].out_channels for block in paper.encoder.blocks] == [64, 128, 256, 512, 1024]
    assert not any(isinstance(module, nn.InstanceNorm2d) for module in paper.decoder.modules())
    assert sum(isinstance(module, nn.InstanceNorm2d) for module in UNet().decoder.modules()) == 8


def test_the_encoder_computes_what_monai_computes() -> None:
    from monai.networks.nets import BasicUNet

    torch.manual_seed(0)
    ours = UNet(width=4)
    act = ("LeakyReLU", {"negative_slope": 0.01, "inplace": True})
    theirs = BasicUNet(2, 1, 3, features=(4, 8, 16, 32, 64, 4), act=act, norm=("instance", {"affine": True}), upsample="deconv")
    blocks = [theirs.conv_0, *(getattr(theirs, f"down_{k}").convs for k in range(1, 5))]
    for block, peer in zip(ours.encoder.blocks, blocks, strict=True):
        assert count(block) == count(peer)
        with torch.no_grad():
            for here, there in zip(block.parameters(), peer.parameters(), strict=True):
                there.copy_(here)
    image = torch.rand(2, 1, 64, 48)
    maps, found = ours.encoder(image), [theirs.conv_0(image)]
    for k in range(1, 5):
        found.append(getattr(theirs, f"down_{k}")(found[-1]))
    for here, there in zip(maps, found, strict=True):
        assert torch.allclose(here, there, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 75), st.integers(1, 75), st.integers(1, 4))
def test_output_has_the_size_of_the_input(batch: int, height: int, width: int, depth: int) -> None:
    model, images = small(depth=depth), torch.rand(batch, 1, height, width)
    assert model(images).shape == (batch, 3, height, width)
    assert model.features(images).shape == (batch, 2, height, width)
    assert model.embed_pixels(images).shape == (batch, 7, height, width)
    assert model.embed_images(images).shape == (batch, 5)
    assert model(images).isfinite().all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 5))
def test_margins_reach_the_next_size_that_fits(height: int, width: int, depth: int) -> None:
    left, right, top, bottom = margins((height, width), depth)
    for side, before, after in ((width, left, right), (height, top, bottom)):
        total = side + before + after
        assert total % 2**depth == 0 and total >= 2 * 2**depth and 0 <= after - before <= 1
        assert total - side < 2**depth or side < 2 * 2**depth


def test_a_size_that_fits_is_not_padded_and_the_crop_is_in_place() -> None:
    torch.manual_seed(0)
    model = small().eval()
    image = torch.rand(1, 1, 48, 48)
    whole = model(image)
    inner = model(torch.nn.functional.pad(image, (8, 8, 8, 8), mode="replicate"))[..., 8:-8, 8:-8]
    odd = model(image[..., 1:, 1:])
    assert margins((48, 48), 4) == (0, 0, 0, 0)
    assert whole.shape == inner.shape and (odd - whole[..., 1:, 1:]).abs().mean() < 0.5 * whole.std()


def test_one_pixel_in_training_is_no_error_and_not_nan() -> None:
    model = small().train()
    loss = model(torch.rand(2, 1, 1, 1)).square().sum() + model.embed_images(torch.rand(2, 1, 1, 1)).square().sum()
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("output", "reached"),
    [
        ("embed_images", {"encoder", "global_head"}),
        ("embed_pixels", {"encoder", "decoder", "pixel_head"}),
        ("forward", {"encoder", "decoder", "class_head"}),
    ],
)
def test_gradients_reach_all_of_a_stage_and_nothing_else(output: str, reached: set[str]) -> None:
    torch.manual_seed(0)
    model = small()
    getattr(model, output)(torch.rand(3, 1, 64, 64)).square().sum().backward()
    for part in PARTS:
        gradients = [parameter.grad for parameter in getattr(model, part).parameters()]
        assert all((g is not None) == (part in reached) for g in gradients), part
        assert part not in reached or any(g.abs().max() > 0 for g in gradients)


def test_a_step_moves_the_global_head_and_leaves_the_decoder() -> None:
    model = small()
    before = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    model.embed_images(torch.rand(4, 1, 32, 32)).square().mean().backward()
    optimiser.step()
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"encoder", "global_head"}


def test_settings_build_the_same_network_again() -> None:
    model = UNet(classes=4, width=3, channels=2, depth=2, decoder_norm=False, global_dim=6, pixel_dim=9)
    again = UNet(**model.settings)
    again.load_state_dict(model.state_dict())
    image = torch.rand(2, 2, 20, 20)
    assert torch.equal(model(image), again(image)) and again.settings == model.settings
    assert isinstance(model, Body) and set(dict(model.named_children())) == set(PARTS)


def test_the_pixel_head_has_the_rank_that_its_width_allows() -> None:
    torch.manual_seed(0)
    model = UNet(width=8, pixel_dim=64)
    pixels = model.embed_pixels(torch.rand(2, 1, 32, 32)).detach().double().permute(0, 2, 3, 1).reshape(-1, 64)
    values = torch.linalg.svdvals(pixels)
    assert values[9] < 1e-5 * values[0] < values[7]


def test_bf16_autocast_is_close_to_float32() -> None:
    torch.manual_seed(0)
    model, image = UNet().eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = model(image).float()
    full = model(image).detach()
    assert ((low - full).norm() / full.norm()) < 0.05


def test_carry_copies_what_is_asked_for_and_says_what_it_did() -> None:
    source, target = small(pixel_dim=9), small()
    before = copy.deepcopy(target.state_dict())
    report = carry(source.state_dict(), target, ("encoder",))
    for name, value in target.state_dict().items():
        wanted = source.state_dict()[name] if name.startswith("encoder.") else before[name]
        assert torch.equal(value, wanted)
    assert set(report.carried) == {name for name in before if name.startswith("encoder.")}
    assert set(report.dropped) == set(source.state_dict()) - set(report.carried)
    assert set(report.new) == set(before) - set(report.carried)
    assert "carried" in repr(report) and "encoder" in repr(report)
    source.encoder.blocks[0][0].weight.data.zero_()
    assert target.encoder.blocks[0][0].weight.abs().sum() > 0


def test_carry_refuses_what_does_not_fit_and_copies_nothing() -> None:
    target = small()
    before = copy.deepcopy(target.state_dict())
    weights = small().state_dict()
    prefixed = {f"module.{name}": value for name, value in weights.items()}
    missing = {name: value for name, value in weights.items() if name != "encoder.blocks.2.3.bias"}
    unknown = weights | {"decoder.extra": torch.zeros(1)}
    cases = [
        (prefixed, "another network"),
        ({}, "another network"),
        (missing, "encoder.blocks.2.3.bias is missing"),
        (unknown, "decoder.extra"),
        (small(width=3).state_dict(), r"has shape \[24, 48, 3, 3\], expected \[16, 32, 3, 3\]"),
        (small(depth=2).state_dict(), "settings of the weights"),
        (small(decoder_norm=False).state_dict(), "decoder"),
    ]
    for wrong, words in cases:
        with pytest.raises(ValueError, match=words):
            carry(wrong, target)
        assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_carry_knows_its_parts() -> None:
    with pytest.raises(ValueError, match="head"):
        carry(small().state_dict(), small(), ("encoder", "head"))
    with pytest.raises(TypeError, match="parts"):
        carry(small().state_dict(), small(), "encoder")
    assert carry(small().state_dict(), small(), PARTS).new == ()


def test_images_that_do_not_fit_are_refused_by_name() -> None:
    model = small()
    for images in (
        torch.rand(4, 32, 32),
        torch.rand(4, 32, 32, 1),
        torch.rand(1, 2, 32, 32),
        torch.rand(0, 1, 32, 32),
        torch.rand(1, 1, 0, 32),
    ):
        for output in (model, model.embed_images, model.embed_pixels):
            with pytest.raises(ValueError, match="images: expected"):
                output(images)
    with pytest.raises(TypeError, match="images"):
        model(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))


WRONG = [("classes", 1), ("width", 0), ("depth", 0), ("pixel_dim", -1), ("width", 8.0), ("channels", True)]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_settings_that_make_no_network_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        UNet(**{name: value})
    check_unet(UNet(width=1).settings)


def test_carry_takes_any_iterable_of_whole_parts_and_nothing_else() -> None:
    """A generator was used up before anything was copied, and of a part of a part nothing was: both in silence."""
    weights, model = small().state_dict(), small()
    found = carry(weights, model, (part for part in ("encoder",)))
    assert found.carried and all(name.startswith("encoder.") for name in found.carried)
    with pytest.raises(ValueError, match="parts: the network has no encoder.blocks"):
        carry(weights, model, ("encoder.blocks",))


def test_carry_says_which_way_round() -> None:
    for one in ((small(), small()), (small(), small().state_dict()), ("weights.pt", small())):
        with pytest.raises(TypeError, match="weights, model: expected a state dict and the network"):
            carry(*one)


def test_sizes_may_be_numbers_of_numpy() -> None:
    assert small(classes=np.int64(4)).class_head.out_channels == 4
