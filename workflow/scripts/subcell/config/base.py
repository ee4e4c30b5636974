"""What every block of the configuration is."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Channel = Literal["microtubules", "er", "nucleus", "protein"]


class Section(BaseModel):
    """A block of the configuration: unknown keys are errors; numbers may be text, as `--config` gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
