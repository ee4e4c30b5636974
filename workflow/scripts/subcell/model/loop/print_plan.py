"""Print what each training of a configuration computes: see `subcell.model.loop.plan`, which needs no configuration."""

import argparse
from pathlib import Path

import yaml

from subcell.config.check import resolve
from subcell.model.loop.plan import TRAINING_ANTIBODIES, count_training, describe_training


def main() -> None:
    """Print the plan of every training of a configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--antibodies", type=int, default=TRAINING_ANTIBODIES, help="that are trained on")
    given = parser.parse_args()
    config = resolve(yaml.safe_load(given.config.read_text(encoding="utf-8")), source=str(given.config))
    for name, settings in config["models"].items():
        if settings.get("train_on"):
            counted = count_training(settings, pixels=config["crops"]["pixels"], antibodies=given.antibodies)
            print(describe_training(name, settings, counted, gpus=max(1, config["gpus"])))


if __name__ == "__main__":
    main()
