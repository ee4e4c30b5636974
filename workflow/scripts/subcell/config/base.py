"""What every block of the configuration is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A block of the configuration: unknown keys are errors; numbers may be text, as `--config` gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
