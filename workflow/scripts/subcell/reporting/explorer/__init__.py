"""The explorer of a map: its units, cells and pictures, packed for the page."""
