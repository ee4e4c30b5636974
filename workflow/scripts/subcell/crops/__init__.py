"""Square single-cell images at fixed microns a pixel, and the files that hold them."""
