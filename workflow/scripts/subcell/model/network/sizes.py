"""How large a network is: the paper's base size, and smaller ones for small data and slow machines."""

from __future__ import annotations

from dataclasses import dataclass

from subcell.errors import ConfigError


@dataclass(frozen=True)
class Size:
    """Numbers of one network size.

    Attributes
    ----------
    width, depth, heads : of the encoder's transformer; the MLP is four times as wide
    patch : side of a patch in pixels
    pool_dim, pool_heads : gates and heads of the attention pooling; a pooled vector has pool_heads x width numbers
    projection_dim, projected_dim : hidden and output width of the projection heads
    decoder_width, decoder_depth, decoder_heads : of the decoder that reconstructs pixels
    stem : channels of the convolutions in front of the one that makes tokens; without any, one linear layer makes them
    """

    width: int
    depth: int
    heads: int
    patch: int
    pool_dim: int
    projection_dim: int
    projected_dim: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    pool_heads: int = 2
    stem: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Take the stem as a list too, as JSON has it, and refuse one that does not end at a patch."""
        object.__setattr__(self, "stem", tuple(self.stem))
        if self.stem and 2 ** (len(self.stem) + 1) != self.patch:
            raise ConfigError(
                f"a stem of {len(self.stem) + 1} convolutions of stride 2 makes patches of {2 ** (len(self.stem) + 1)} px, "
                f"not {self.patch}"
            )

    @property
    def initial_std(self) -> float:
        """Deviation of the initial weights: the reference's 0.02 at its width of 768, as much signal at any other."""
        return 0.02 * (768 / self.width) ** 0.5


SIZES = {
    "tiny": Size(
        width=128,
        depth=2,
        heads=4,
        patch=16,
        pool_dim=128,
        projection_dim=512,
        projected_dim=128,
        decoder_width=64,
        decoder_depth=2,
        decoder_heads=4,
        stem=(24, 48, 96),
    ),
    "small": Size(
        width=384,
        depth=12,
        heads=6,
        patch=16,
        pool_dim=256,
        projection_dim=2048,
        projected_dim=256,
        decoder_width=256,
        decoder_depth=4,
        decoder_heads=8,
    ),
    "base": Size(
        width=768,
        depth=12,
        heads=12,
        patch=16,
        pool_dim=512,
        projection_dim=8192,
        projected_dim=512,
        decoder_width=512,
        decoder_depth=8,
        decoder_heads=16,
    ),
}
"""`base` is the paper's network (87 million parameters in the encoder), for images of 448 px; `small` is meant for 224 px,
`tiny`, whose tokens come from convolutions, for 96 px."""


def size_named(name: str) -> Size:
    """The size of that name.

    Raises
    ------
    ConfigError : there is none
    """
    if name not in SIZES:
        raise ConfigError(f"size {name!r} is unknown; expected one of {', '.join(SIZES)}")
    return SIZES[name]


def patches_a_side(image_px: int, patch: int) -> int:
    """How many patches fit a side of the image.

    Raises
    ------
    ConfigError : the image is not a whole number of patches
    """
    if image_px % patch or image_px < patch:
        raise ConfigError(
            f"crops of {image_px} px cannot be cut into patches of {patch} px; set `crops.pixels` to a multiple of {patch}"
        )
    return image_px // patch
