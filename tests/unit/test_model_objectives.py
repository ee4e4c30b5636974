"""Losses, masking and inputs against known answers and slow formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from subcell.model.network.decoder import patchify
from subcell.model.network.inputs import mask_and_scale, some_masked
from subcell.model.objectives.losses import contrastive_loss, reconstruction_loss
from subcell.model.objectives.masking import choose_patches, object_patches


def supcon_reference(features: np.ndarray, labels: list[int], temperature: float) -> float:
    """Khosla et al. 2020, equation 2, term by term."""
    terms = []
    for anchor in range(len(labels)):
        others = [i for i in range(len(labels)) if i != anchor]
        positives = [i for i in others if labels[i] == labels[anchor]]
        if not positives:
            continue
        below = sum(math.exp(features[anchor] @ features[i] / temperature) for i in others)
        log_p = [math.log(math.exp(features[anchor] @ features[i] / temperature) / below) for i in positives]
        terms.append(-sum(log_p) / len(positives))
    return sum(terms) / len(terms) if terms else 0.0


def unit_vectors(count: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=1)


@settings(deadline=None, max_examples=30)
@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=12), seed=st.integers(0, 99))
def test_contrastive_loss_is_the_formula_for_any_labels(labels: list[int], seed: int) -> None:
    features = unit_vectors(len(labels), seed)
    found = contrastive_loss(features, torch.tensor(labels), temperature=0.1)
    assert float(found) == pytest.approx(supcon_reference(features.numpy(), labels, 0.1), rel=1e-5, abs=1e-6)


def test_two_views_with_a_number_a_cell_give_nt_xent() -> None:
    first, second = unit_vectors(4, 1), unit_vectors(4, 2)
    both = torch.cat((first, second))
    similarity = (both @ both.T / 0.1).numpy()
    np.fill_diagonal(similarity, -np.inf)
    partner = np.r_[4:8, 0:4]
    expected = np.mean(np.log(np.exp(similarity).sum(axis=1)) - similarity[np.arange(8), partner])
    found = contrastive_loss(both, torch.arange(4).repeat(2), temperature=0.1)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_lone_antibody_is_no_anchor_but_stays_a_negative() -> None:
    features = unit_vectors(5)
    with_lone = contrastive_loss(features, torch.tensor([7, 7, 8, 8, 9]))
    assert float(with_lone) == pytest.approx(supcon_reference(features.numpy(), [7, 7, 8, 8, 9], 0.1), rel=1e-5)
    without = contrastive_loss(features[:4], torch.tensor([7, 7, 8, 8]))
    assert float(with_lone) > float(without)


def test_no_positives_at_all_give_zero_and_a_gradient_without_nan() -> None:
    features = unit_vectors(3).requires_grad_()
    loss = contrastive_loss(features, torch.tensor([1, 2, 3]))
    loss.backward()
    assert loss.item() == 0.0
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_bfloat16_features_are_compared_in_float32() -> None:
    features = unit_vectors(8).to(torch.bfloat16)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    found = contrastive_loss(features, labels)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(contrastive_loss(features.double(), labels)), rel=1e-5)


def test_autocast_does_not_compare_in_bfloat16() -> None:
    features = unit_vectors(64).float()
    labels = torch.arange(16).repeat(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(features, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, contrastive_loss(features, labels))


def test_spared_pairs_are_neither_positives_nor_negatives() -> None:
    features = unit_vectors(7)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    genes = torch.tensor([5, 5, 5, 5, 6, 6, 6])
    found = contrastive_loss(features, labels, spared=genes)
    terms = []
    for anchor in range(7):
        counted = [i for i in range(7) if i != anchor and (labels[i] == labels[anchor] or genes[i] != genes[anchor])]
        positives = [i for i in counted if labels[i] == labels[anchor]]
        if positives:
            below = sum(math.exp(features[anchor] @ features[i] / 0.1) for i in counted)
            terms.append(
                -np.mean([math.log(math.exp(features[anchor] @ features[i] / 0.1) / below) for i in positives])
            )
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-5)
    assert float(found) < float(contrastive_loss(features, labels))


def test_an_anchor_that_nothing_is_left_to_compare_with_has_no_gradient() -> None:
    features = unit_vectors(4).requires_grad_()
    loss = contrastive_loss(features, torch.arange(4), spared=torch.zeros(4))
    loss.backward()
    assert loss.item() == 0.0
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_reconstruction_counts_hidden_patches_only() -> None:
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(2, 4, 12, generator=generator, dtype=torch.float64)
    predicted = torch.randn(2, 4, 12, generator=generator, dtype=torch.float64)
    keep = torch.tensor([[0, 2], [1, 3]])
    errors = []
    for image, hidden in ((0, 1), (0, 3), (1, 0), (1, 2)):
        values = patches[image, hidden].numpy()
        target = (values - values.mean()) / np.sqrt(values.var(ddof=1) + 1e-6)
        errors.append(((predicted[image, hidden].numpy() - target) ** 2).mean())
    assert float(reconstruction_loss(predicted, patches, keep)) == pytest.approx(np.mean(errors), rel=1e-5)
    changed = predicted.clone()
    changed[0, 0] += 100
    assert float(reconstruction_loss(changed, patches, keep)) == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_blank_patch_has_a_finite_reconstruction_loss() -> None:
    loss = reconstruction_loss(torch.ones(1, 2, 4), torch.full((1, 2, 4), 0.3), torch.tensor([[0]]))
    assert float(loss) == pytest.approx(1.0)


def test_contrastive_loss_has_the_gradients_of_finite_differences() -> None:
    features = unit_vectors(6).requires_grad_()
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    contrastive_loss(features, labels).backward()
    direction = unit_vectors(6, seed=5)
    step = 1e-5
    ahead, behind = (
        supcon_reference((features.detach() + sign * step * direction).numpy(), labels.tolist(), 0.1)
        for sign in (1, -1)
    )
    assert features.grad is not None
    assert float((features.grad * direction).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)


@pytest.mark.parametrize(("ratio", "kept"), [(0.25, 27), (0.5, 18), (0.0, 36), (0.3, 25)])
def test_as_many_patches_stay_as_the_ratio_says(ratio: float, kept: int) -> None:
    objects = torch.zeros(5, 36, dtype=torch.bool)
    keep = choose_patches(objects, mask_ratio=ratio, generator=torch.Generator().manual_seed(0))
    assert keep.shape == (5, kept)
    assert all(len(set(row.tolist())) == kept for row in keep)


def test_object_masking_keeps_at_most_a_share_of_the_cell() -> None:
    objects = torch.zeros(200, 36, dtype=torch.bool)
    objects[:, :12] = True
    keep = choose_patches(objects, mask_ratio=0.5, object_mask_ratio=0.5, generator=torch.Generator().manual_seed(0))
    on_cell = (keep < 12).sum(dim=1)
    assert on_cell.max() <= 6
    # 18 stay of the 24 + 6 that may: of the six of the cell 3.6 on average
    assert float(on_cell.float().mean()) == pytest.approx(3.6, abs=0.25)


def test_object_masking_takes_the_cell_where_there_is_nothing_else() -> None:
    objects = torch.ones(2, 16, dtype=torch.bool)
    keep = choose_patches(objects, mask_ratio=0.25, object_mask_ratio=0.5, generator=torch.Generator().manual_seed(0))
    assert keep.shape == (2, 12)


def test_without_object_ratio_every_patch_stays_equally_often() -> None:
    objects = torch.zeros(4000, 16, dtype=torch.bool)
    objects[:, :8] = True
    keep = choose_patches(objects, mask_ratio=0.25, generator=torch.Generator().manual_seed(0))
    often = torch.bincount(keep.flatten(), minlength=16) / 4000
    assert often.numpy() == pytest.approx(np.full(16, 0.75), abs=0.04)


def test_object_patches_follow_the_mask_row_by_row() -> None:
    masks = torch.zeros(1, 8, 8)
    masks[0, :4, 4:] = 1
    assert object_patches(masks, patch=4).tolist() == [[False, True, False, False]]


def test_patches_go_row_by_row_with_the_channel_fastest() -> None:
    images = torch.arange(2 * 4 * 4).reshape(1, 2, 4, 4)
    patches = patchify(images, 2)
    assert patches.shape == (1, 4, 8)
    assert patches[0, 1].tolist() == [2, 18, 3, 19, 6, 22, 7, 23]


def test_pixels_outside_the_cell_vanish_before_scaling() -> None:
    images = torch.tensor([[[[10, 250], [20, 30]], [[40, 200], [0, 50]]]], dtype=torch.uint8)
    masks = torch.tensor([[[1, 0], [1, 1]]])
    found = mask_and_scale(images, masks)
    # The lowest pixel is the zero of the mask, the highest one inside is 50, in the other channel.
    expected = torch.tensor([[[[0.2, 0.0], [0.4, 0.6]], [[0.8, 0.0], [0.0, 1.0]]]])
    torch.testing.assert_close(found, expected)


def test_all_channels_of_a_cell_share_one_scale_and_cells_do_not() -> None:
    images = torch.stack((torch.full((2, 3, 3), 5.0), torch.full((2, 3, 3), 5.0)))
    images[0, 1] = 10
    images[1, 1] = 20
    images[:, :, 0, 0] = 0
    found = mask_and_scale(images, torch.ones(2, 3, 3))
    assert found[:, 0, 1, 1].tolist() == pytest.approx([0.5, 0.25])
    assert found[:, 1, 1, 1].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("value", [0, 7])
def test_a_blank_cell_gives_zeros(value: int) -> None:
    found = mask_and_scale(torch.full((1, 4, 3, 3), value, dtype=torch.int32), torch.ones(1, 3, 3))
    assert torch.equal(found, torch.zeros(1, 4, 3, 3))


@pytest.mark.parametrize(
    ("cells", "share", "expected"), [(8, 0.5, 4), (5, 0.5, 2), (1, 0.5, 0), (8, 0.0, 0), (8, 1.0, 8), (8, 0.25, 2)]
)
def test_the_same_share_of_every_item_is_masked(cells: int, share: float, expected: int) -> None:
    generator = torch.Generator().manual_seed(0)
    masked = some_masked(items=50, cells=cells, share=share, generator=generator).unflatten(0, (50, cells))
    assert set(masked.sum(dim=1).tolist()) == {expected}
    if 0 < expected < cells:
        assert len({tuple(row) for row in masked.tolist()}) > 1


def test_percentiles_leave_hot_pixels_out_of_the_range() -> None:
    images = torch.linspace(0, 100, 4 * 50 * 50).view(1, 4, 50, 50)[:, :, torch.randperm(50)]
    hot = images.clone()
    hot[0, 2, 7, :9] = 60_000
    masks = torch.ones(1, 50, 50)
    plain = mask_and_scale(images, masks, scaling="percentile")
    robust = mask_and_scale(hot, masks, scaling="percentile")
    assert float(robust.max()) == 1.0
    cold = hot < 60_000
    assert float((plain - robust)[cold].abs().max()) < 2e-3
    assert float(mask_and_scale(hot, masks)[cold].max()) < 0.01
    # 0.1 % of 10,000 values at either end: 10 of them
    assert int((plain == 1).sum()) == 11
    assert torch.equal(mask_and_scale(torch.full((1, 4, 9, 9), 3), torch.ones(1, 9, 9), scaling="percentile"),
                       torch.zeros(1, 4, 9, 9))  # fmt: skip
