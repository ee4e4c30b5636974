"""Masks: nuclei and cells of a field, by Cellpose's dynamics on its own or on compact networks, with tables and quality."""
