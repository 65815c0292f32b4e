"""The base of every part of a recipe."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A part of a recipe: typed, immutable, and closed to unknown keys.

    Each subclass lives in the file that reads it; each field carries a description, from which the reference
    page of the documentation is generated. NaN and infinity are rejected.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )
