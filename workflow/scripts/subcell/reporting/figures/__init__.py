"""Figures and pictures, as SVG and PNG."""
