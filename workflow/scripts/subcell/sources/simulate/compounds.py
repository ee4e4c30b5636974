"""Compounds of a perturbation screen: what they do to cells, and where they lie on a plate."""

from dataclasses import dataclass

import numpy as np

from subcell.errors import ConfigError
from subcell.sources.simulate.settings import Settings
from subcell.sources.simulate.streams import stream

MECHANISMS = ("ER stress", "DNA damage", "microtubule destabiliser", "mitochondrial fission")
"""What compounds do. ER stress looks in part like a brighter plate, DNA damage in part like a well at the edge."""

SOLVENT = "DMSO"
ROWS = "ABCDEFGH"
COLUMNS = 12


@dataclass(frozen=True)
class Compound:
    """Truth about one compound.

    Attributes
    ----------
    mechanism : as annotated; an inactive compound may have one too, None is unknown
    active : changes cells in any way
    toxic : kills cells
    potency : size of the effect at the highest dose, 1 on average
    """

    name: str
    mechanism: str | None
    active: bool
    toxic: bool
    potency: float


@dataclass(frozen=True)
class Treatment:
    """A compound at a dose; strength 0 changes nothing."""

    mechanism: str | None = None
    toxic: bool = False
    strength: float = 0.0


def list_compounds(settings: Settings) -> list[Compound]:
    """Draw the compounds of a world: half are inactive, one in five of the others is toxic and nothing else.

    Returns
    -------
    compounds; the last one is the positive control
    """
    acting = settings.compounds // 2
    only_toxic = -(-acting // 5) if acting > 2 else 0
    specific = acting - only_toxic
    used = MECHANISMS[: max(1, -(-specific // 2))]
    found = []
    for number in range(settings.compounds):
        rng = stream(settings.seed, "compound", number)
        toxic = specific <= number < acting
        # Two compounds share a mechanism; of the inactive ones every other is annotated with one all the same.
        annotated = number < specific if number < acting else number % 2 == 0
        mechanism = used[(number if number < acting else number - acting) // 2 % len(used)]
        found.append(
            Compound(
                name=f"SIM-C{number + 1:02d}",
                mechanism=mechanism if annotated else None,
                active=number < acting and settings.effects.compounds,
                # One compound with a mechanism kills cells as well.
                toxic=(toxic or (number == 1 and acting > 2)) and settings.effects.compounds,
                potency=float(np.exp(rng.normal(0, 0.15))),
            )
        )
    found.append(Compound("SIM-CONTROL", MECHANISMS[0], settings.effects.compounds, False, 1.3))
    return found


def dose_names(settings: Settings) -> list[str]:
    """Doses in micromolar, rising tenfold."""
    return [f"{10.0**power:g}" for power in range(settings.doses)]


def treatment_of(compound: Compound, dose: str, settings: Settings) -> Treatment:
    """What a compound does at a dose: the highest has its full effect, each lower one half of the next."""
    if not compound.active:
        return Treatment()
    below = settings.doses - 1 - dose_names(settings).index(dose)
    return Treatment(compound.mechanism, compound.toxic, compound.potency * 0.5**below)


def place_wells(settings: Settings) -> list[tuple[str, str, str, str | None]]:
    """Wells of a plate, the same on every plate as in real screens: compounds of a position share its effects.

    Compounds that damage DNA lie at the edge, so that what they do overlaps with what the position does.

    Returns
    -------
    (well, compound, dose, control) of every well in use; control is `negative`, `positive` or None

    Raises
    ------
    ConfigError : more wells than a plate has
    """
    *compounds, control = list_compounds(settings)
    contents: list[tuple[Compound | None, str, str | None]] = [
        (compound, dose, None) for compound in compounds for dose in dose_names(settings)
    ]
    contents += [(None, "0", "negative")] * settings.negative_controls
    contents += [(control, dose_names(settings)[-1], "positive")] * settings.positive_controls
    free = [f"{row}{column}" for row in ROWS for column in range(1, COLUMNS + 1)]
    if len(contents) > len(free):
        raise ConfigError(
            f"{settings.compounds} compounds at {settings.doses} doses and the controls take {len(contents)} wells; "
            f"a plate has {len(free)}"
        )
    stream(settings.seed, "places").shuffle(free)
    wells = []
    for compound, dose, of_control in contents:
        edge = compound is not None and compound.mechanism == "DNA damage"
        well = next((well for well in free if edge and edge_of(well) == 1), free[0])
        free.remove(well)
        wells.append((well, compound.name if compound else SOLVENT, dose, of_control))
    return wells


def edge_of(well: str) -> float:
    """How near to the edge of its plate a well lies: 1 in the outermost row or column, 0 in the middle."""
    row, column = ROWS.index(well[0]), int(well[1:]) - 1
    return max(0.0, 1 - min(row, len(ROWS) - 1 - row, column, COLUMNS - 1 - column) / 2)
