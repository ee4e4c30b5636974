"""From colour pictures of one stain to its grey values."""

import numpy as np

from subcell.errors import ImageError

_BLOCK_PX = 8
_ONE_HUE_LIMIT = 2 / 255
"""Second hue (see `_second_hue`) that is still one hue.

Measured on 80 fields of HPA, most at 512 px, as JPEG with halved chroma, the hardest case: one stain reaches 1.72 / 255 at
quality 50-90. Of 80 pictures of three stains none stays below, of 160 of two stains 13, all nearly black.
"""


def one_hue_to_grey(picture: np.ndarray) -> np.ndarray:
    """Grey values of a picture in which every pixel has the same hue, as HPA publishes its stains.

    The largest of red, green and blue is the value: yellow is (v, v, 0), blue (0, 0, v), grey as colour (v, v, v).

    Parameters
    ----------
    picture : (Y, X, S) uint8 or uint16; S is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)

    Returns
    -------
    (Y, X) array of the same type

    Raises
    ------
    ImageError : several hues, or an alpha channel that is not constant
    """
    samples = picture.shape[-1]
    if samples in (2, 4):
        alpha = picture[..., -1]
        if alpha.min() != alpha.max():
            raise ImageError(
                f"the picture has {samples} samples a pixel and the last, alpha, varies; say which one is the stain by "
                f"adding #c=0 to #c={samples - 1} to the path"
            )
        picture = picture[..., :-1]
    if picture.shape[-1] == 1:
        return picture[..., 0]
    if _second_hue(picture) > _ONE_HUE_LIMIT:
        raise ImageError(
            "the picture shows several hues, so it is a composite of stains; give one file a stain, or say which "
            "sample is the stain by adding #c=0 (red), #c=1 (green) or #c=2 (blue) to the path"
        )
    return picture.max(axis=-1)


def _second_hue(picture: np.ndarray) -> float:
    """How far the brightest places of red, green or blue are from the picture's main hue; 0 where all have that hue.

    For the brightest 1% of places in each sample it is their distance from the main hue, as a share of the type's range,
    times the sine of the angle to it: darkness takes on any hue in a JPEG, and bright edges a little of one.
    """
    # Means of blocks: JPEG stores hue at half resolution, so single pixels next to edges take a neighbour's hue.
    size = min(_BLOCK_PX, *picture.shape[:2])
    rows, columns = (side // size for side in picture.shape[:2])
    blocks = picture[: rows * size, : columns * size].reshape(rows, size, columns, size, 3)
    means = blocks.mean(axis=(1, 3), dtype=np.float32).reshape(-1, 3) / np.iinfo(picture.dtype).max
    main = np.linalg.eigh(means.T @ means)[1][:, -1]
    count = max(1, len(means) // 100)
    brightest = np.stack([means[np.argsort(means[:, sample])[-count:]].mean(axis=0) for sample in range(3)])
    distance = np.linalg.norm(brightest - np.outer(brightest @ main, main), axis=1)
    length = np.linalg.norm(brightest, axis=1)
    return float(np.max(distance * distance / np.maximum(length, np.finfo(np.float32).tiny)))
