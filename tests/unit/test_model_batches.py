"""Which cells come together, and what is done to their images."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.transforms import v2

from subcell.errors import ConfigError, NothingLeftError
from subcell.model.data import augment
from subcell.model.data.batches import make_views
from subcell.model.data.sampler import ItemSampler, positive_labels
from subcell.model.objectives.recipes import RECIPES, recipe_named


def cells(*antibodies: tuple[str | None, str, str, str, int]) -> pd.DataFrame:
    """Rows (antibody, line, well, site, number of cells)."""
    rows = []
    for antibody, line, well, site, count in antibodies:
        row = {"antibody": antibody, "cell_line": line, "plate": "P1", "well": well, "site": site}
        rows += [{**row, "field_id": f"{well}_{site}", "gene": antibody, "compound": None}] * count
    return pd.DataFrame(rows)


def sampler(obs: pd.DataFrame, **settings: int) -> ItemSampler:
    given = {"items_per_batch": 2, "cells_per_item": 4, "items_per_antibody": 2, "seed": 0, **settings}
    return ItemSampler(obs, range(len(obs)), **given)


def items_of(obs: pd.DataFrame, epoch: int = 0, **settings: int) -> np.ndarray:
    made = sampler(obs, **settings)
    return np.concatenate([batch.reshape(-1, made.cells_per_item) for batch in made.epoch(epoch)])


def test_an_item_is_of_one_antibody_and_every_antibody_gives_as_many() -> None:
    obs = cells(("a", "U2", "A1", "1", 30), ("b", "U2", "A2", "1", 9), ("c", "U2", "A3", "1", 50))
    items = items_of(obs, items_per_batch=3, items_per_antibody=4)
    owners = [set(obs["antibody"].iloc[item]) for item in items]
    assert all(len(owner) == 1 for owner in owners)
    assert Counter(owner.pop() for owner in owners) == {"a": 4, "b": 4, "c": 4}


def test_wells_with_many_cells_do_not_rule() -> None:
    obs = cells(("a", "U2", "A1", "1", 100), ("a", "U2", "A1", "2", 10), ("a", "HeLa", "B1", "1", 10))
    for item in items_of(obs, cells_per_item=6, items_per_batch=1, items_per_antibody=3):
        assert Counter(zip(obs["well"].iloc[item], obs["site"].iloc[item], strict=True)) == {
            ("A1", "1"): 2,
            ("A1", "2"): 2,
            ("B1", "1"): 2,
        }


def test_all_cells_come_before_any_comes_again() -> None:
    obs = cells(("a", "U2", "A1", "1", 5), ("a", "U2", "A2", "1", 3))
    for passes in (1, 2):
        items = items_of(obs, cells_per_item=4, items_per_batch=1, items_per_antibody=2 * passes)
        assert sorted(items.ravel()) == sorted([*range(8)] * passes)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_an_antibody_with_few_cells_repeats_them_and_ends(count: int) -> None:
    obs = cells(("a", "U2", "A1", "1", count), ("b", "U2", "A2", "1", 20))
    items = items_of(obs, cells_per_item=4, items_per_antibody=4)
    assert items.shape == (8, 4)
    for item in items:
        if obs["antibody"].iloc[item[0]] == "a":
            assert len(set(item)) == min(4, count)


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    obs = cells(("a", "U2", "A1", "1", 30), ("b", "U2", "A2", "1", 30))
    late, early = sampler(obs), sampler(obs)
    list(late.epoch(0))
    assert all(np.array_equal(one, two) for one, two in zip(late.epoch(3), early.epoch(3), strict=True))
    assert not np.array_equal(next(early.epoch(0)), next(early.epoch(1)))
    assert not np.array_equal(next(early.epoch(0)), next(sampler(obs, seed=1).epoch(0)))


def test_row_numbers_are_those_of_the_whole_table() -> None:
    obs = cells(("a", "U2", "A1", "1", 5), ("b", "U2", "A2", "1", 5))
    made = ItemSampler(obs, [7, 8, 9], items_per_batch=1, cells_per_item=3, items_per_antibody=1, seed=0)
    assert sorted(next(made.epoch(0))) == [7, 8, 9]


def test_a_batch_is_smaller_where_there_are_not_enough_items() -> None:
    obs = cells(("a", "U2", "A1", "1", 5))
    made = sampler(obs, items_per_batch=112)
    assert made.batches_per_epoch == 1
    assert len(next(made.epoch(0))) == 2 * 4


def test_cells_without_antibody_are_sampled_by_field() -> None:
    obs = cells((None, "U2", "A1", "1", 6), (None, "U2", "A2", "1", 6))
    items = items_of(obs, items_per_batch=1)
    assert all(obs["field_id"].iloc[item].nunique() == 1 for item in items)


def test_nothing_to_sample_is_said() -> None:
    with pytest.raises(NothingLeftError, match="no cell is left to train on"):
        ItemSampler(cells(("a", "U2", "A1", "1", 3)), [], items_per_batch=1, cells_per_item=1, seed=0)


def test_positives_are_cells_with_the_same_value() -> None:
    obs = pd.DataFrame({"antibody": ["HPA2", "HPA10", None, "HPA2", None], "gene": ["G", "G", None, "G", "H"]})
    antibody = positive_labels(obs, "antibody")
    assert antibody[0] == antibody[3]
    assert len(set(antibody)) == 4  # a missing antibody is nobody's positive
    assert len(set(positive_labels(obs, "gene"))) == 3
    assert positive_labels(obs, "none").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match=r"needs a column 'compound'"):
        positive_labels(obs, "compound")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_mask_moves_with_its_image() -> None:
    masks = torch.zeros(64, 48, 48, dtype=torch.bool)
    masks[:, 14:30, 18:38] = True
    moved, moved_masks = augment.geometry(masks[:, None].float(), masks, generator=generator())
    assert moved_masks.dtype == torch.bool
    assert torch.equal(moved[:, 0] >= 0.5, moved_masks)
    assert len({tuple(mask.flatten().tolist()) for mask in moved_masks}) > 50
    # Scale 0.8 to 1.2, part of it out of view: never larger than 1.44 times plus the rim
    assert moved_masks.sum(dim=(1, 2)).max() <= 1.6 * 16 * 20


def test_homographies_have_the_stated_parts() -> None:
    matrices = augment._random_homographies(4000, generator())
    plain = torch.zeros(4000, dtype=torch.bool)
    for x in (-1.0, 1.0):
        for y in (-1.0, 1.0):
            plain |= ((matrices - torch.diag(torch.tensor([x, y, 1.0]))).abs() < 1e-6).all(dim=(1, 2))
    # Neither turned (1/2) nor tilted (1/2)
    assert float(plain.float().mean()) == pytest.approx(0.25, abs=0.03)
    affine = (matrices[:, 2, :2].abs().sum(dim=1) < 1e-6) & ~plain
    assert float(affine.float().mean()) == pytest.approx(0.5, abs=0.03)
    zoom = 1 / matrices[affine][:, :2, :2].det().abs().sqrt()
    assert 0.8 <= float(zoom.min()) < 0.82
    assert 1.18 < float(zoom.max()) <= 1.2001
    assert float((matrices[affine][:, :2, :2].det() < 0).float().mean()) == pytest.approx(0.5, abs=0.04)


def test_a_perspective_puts_the_corners_where_it_says() -> None:
    moved = torch.rand(5, 4, 2, generator=generator()) * 0.25
    matrices = augment._perspectives(moved)
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    target = corners * (1 - moved)
    lifted = torch.cat((target, torch.ones(5, 4, 1)), dim=-1) @ matrices.transpose(1, 2)
    torch.testing.assert_close(lifted[..., :2] / lifted[..., 2:], corners.expand(5, -1, -1), atol=1e-4, rtol=1e-4)


def pictures(count: int = 2000, px: int = 8) -> torch.Tensor:
    return torch.rand(count, 4, px, px, generator=generator(7)) * 0.8 + 0.1


def test_a_landmark_channel_is_removed_now_and_then_and_never_the_protein() -> None:
    gone = (augment.remove_channel(pictures(), generator=generator()) == 0).all(dim=(2, 3))
    assert gone.float().mean(dim=0).tolist() == pytest.approx([1 / 12, 1 / 12, 1 / 12, 0], abs=0.02)
    assert int(gone.sum(dim=1).max()) == 1


def test_of_two_channels_none_is_removed() -> None:
    images = pictures()[:, 2:]
    assert torch.equal(augment.remove_channel(images, generator=generator()), images)


def test_the_protein_is_rescaled_by_the_maximum_of_all_channels_in_a_quarter() -> None:
    images = pictures()
    images[:, 3] /= 4
    images[0] = 0
    scaled = augment.rescale_protein(images, generator=generator())
    assert torch.equal(scaled[:, :3], images[:, :3])
    changed = (scaled[:, 3] != images[:, 3]).flatten(1).any(dim=1)
    assert float(changed.float().mean()) == pytest.approx(0.25, abs=0.03)
    highest = scaled[changed][:, 3].amax(dim=(1, 2))
    # A dim protein stays dim: a quarter of the others' maximum, times 0 to 2.
    assert float(highest.max()) <= 0.55
    assert float(highest.mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.isfinite(scaled).all()


def test_jitter_is_torchvisions_brightness_and_contrast_in_either_order(monkeypatch) -> None:
    images = pictures(200) * torch.tensor([1.0, 1.3, 2.0, 0.2])[:, None, None]
    drawn = []
    for name in ("_uniform", "_coin"):
        draws = getattr(augment, name)
        monkeypatch.setattr(augment, name, lambda *given, draws=draws: drawn.append(draws(*given)) or drawn[-1])
    jittered = augment.jitter(images, generator=generator())
    brightness, contrast, first = (values.flatten() for values in drawn)
    assert 0.5 <= float(min(brightness.min(), contrast.min())) < 0.52
    assert 1.48 < float(max(brightness.max(), contrast.max())) <= 1.5
    assert float(first.float().mean()) == pytest.approx(0.5, abs=0.06)
    for number, plane in enumerate(images.reshape(-1, 1, 8, 8)):
        steps = [(v2.functional.adjust_brightness, brightness), (v2.functional.adjust_contrast, contrast)]
        expected = plane
        for step, factor in steps if first[number] else reversed(steps):
            expected = step(expected, float(factor[number]))
        torch.testing.assert_close(jittered.reshape(-1, 1, 8, 8)[number], expected, atol=1e-5, rtol=1e-5)


def test_blurring_a_point_gives_a_gaussian_of_seven_pixels() -> None:
    planes = torch.zeros(1, 2, 15, 15)
    planes[:, :, 7, 7] = 1
    blurred = augment._gaussian_blur(planes, torch.tensor([1.0, 2.0]))
    weights = [math.exp(-(d**2) / 2) for d in range(-3, 4)]
    expected = np.outer(weights, weights) / sum(weights) ** 2
    assert blurred[0, 0, 4:11, 4:11].numpy() == pytest.approx(expected, abs=1e-6)
    assert blurred.sum(dim=(2, 3)).flatten().tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(blurred[0, 0, :4].abs().sum()) == 0


def test_sharpening_is_torchvisions() -> None:
    planes = torch.rand(1, 3, 5, 5, generator=generator()) * 1.2
    expected = torch.cat([v2.functional.adjust_sharpness(plane, 2.0) for plane in planes.reshape(3, 1, 5, 5)])
    torch.testing.assert_close(augment._sharpen(planes)[0], expected)
    assert float(expected.max()) == 1


def test_channels_are_blurred_or_sharpened_as_often_as_stated() -> None:
    images = pictures()
    changed = augment.blur_or_sharpen(images, generator=generator())
    touched = (changed != images).flatten(2).any(dim=2).float().mean()
    assert float(touched) == pytest.approx(0.5 * 0.5 + 0.5 * 0.25, abs=0.02)


def test_noise_and_erasing_touch_as_many_as_stated() -> None:
    images = pictures(px=24)
    noisy = augment.add_noise(images, generator=generator())
    touched = (noisy != images).flatten(2).any(dim=2)
    # All channels of an image, or none.
    assert set(touched.sum(dim=1).tolist()) == {0, 4}
    assert float(touched.float().mean()) == pytest.approx(0.5, abs=0.03)
    deviation = (noisy - images)[touched].std(dim=(1, 2))
    assert float(deviation.min()) > 0.008
    assert float(deviation.max()) < 0.06
    assert float(deviation.mean()) == pytest.approx(0.03, abs=0.002)
    gone = augment.erase(images, generator=generator()) == 0
    touched = gone.flatten(2).any(dim=2)
    assert float(touched.float().mean()) == pytest.approx(0.25, abs=0.02)
    share = gone.flatten(2).float().mean(dim=2)[touched]
    assert float(share.min()) > 0.01
    assert float(share.max()) < 0.13
    rectangle = gone[touched][0]
    rows, columns = rectangle.any(dim=1), rectangle.any(dim=0)
    assert torch.equal(rectangle, rows[:, None] & columns[None, :])


def test_the_same_generator_gives_the_same_augmentation() -> None:
    images = pictures(20)
    one, two, other = (augment.intensity(images, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def crops(count: int = 32) -> torch.Tensor:
    made = torch.randint(1, 200, (count, 6, 16, 16), dtype=torch.uint8, generator=generator())
    made[:, :2] = 0
    made[:, 1, 4:12, 4:12] = 1
    return made


@pytest.mark.parametrize("recipe", ["mae-cells-prots-pool", "vit-prots-pool"])
def test_crops_of_16_bits_give_the_views_that_8_bits_give(recipe: str) -> None:
    given = {"recipe": RECIPES[recipe], "cells_per_item": 4}
    narrow = make_views(crops(), **given, generator=generator())
    wide = make_views(crops().to(torch.uint16), **given, generator=generator())
    assert all(torch.equal(one.images, other.images) for one, other in zip(narrow, wide, strict=True))


def test_half_of_each_item_loses_its_surroundings_in_each_view(monkeypatch) -> None:
    monkeypatch.setattr("subcell.model.data.batches.geometry", lambda images, masks, generator: (images, masks))
    monkeypatch.setattr("subcell.model.data.batches.intensity", lambda images, generator: images)
    views = make_views(crops(), recipe=RECIPES["vit-prots-pool"], cells_per_item=4, generator=generator())
    alone = torch.stack([(view.images[:, :, 0, :] == 0).all(dim=(1, 2)) for view in views])
    assert (alone.unflatten(1, (8, 4)).sum(dim=2) == 2).all()
    assert not torch.equal(alone[0], alone[1])
    for view in views:
        assert float(view.images.amax(dim=(1, 2, 3)).min()) == pytest.approx(1.0, abs=1e-4)


def test_intensity_goes_to_the_views_that_the_recipe_names(monkeypatch) -> None:
    monkeypatch.setattr("subcell.model.data.batches.intensity", lambda images, generator: images + 10)
    touched = {
        name: [float(view.images.max()) > 5 for view in make_views(
            crops(8), recipe=RECIPES[name], cells_per_item=4, generator=generator()
        )]
        for name in ("mae-cells-prots-pool", "vit-prots-pool", "mae")
    }  # fmt: skip
    assert touched == {"mae-cells-prots-pool": [False, True], "vit-prots-pool": [True, True], "mae": [False]}


def test_released_recipes_have_the_weights_of_the_paper() -> None:
    mae, vit = RECIPES["mae-cells-prots-pool"], RECIPES["vit-prots-pool"]
    assert (mae.reconstruction, mae.cell_specific, mae.protein_specific) == (1.0, 1.0, 0.1)
    assert (mae.mask_ratio, mae.object_mask_ratio, mae.positions, mae.temperature) == (0.25, 0.0, "sincos", 0.1)
    assert (vit.reconstruction, vit.cell_specific, vit.protein_specific) == (0.0, 0.0, 1.0)
    assert (vit.positions, vit.temperature, vit.pooling) == ("learned", 0.1, True)
    with pytest.raises(ConfigError, match="'mea' is unknown"):
        recipe_named("mea")
