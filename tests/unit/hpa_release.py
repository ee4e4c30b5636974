"""A small release of the Human Protein Atlas in its own formats, and a server for it."""

import gzip
import io
import zipfile

import numpy as np
from PIL import Image

PIXEL_HUES = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}


def image(url):
    return f"""<image imageType="sampleImage"><channel color="blue">nucleus</channel><channel color="red">microtubules</channel>
      <channel color="green">antibody</channel><imageUrl>{url}_blue_red_green.jpg</imageUrl></image>"""


def data(line, locations, urls):
    places = "".join(f'<location GOId="GO:0">{name}</location>' for name in locations)
    pictures = "".join(image(url) for url in urls)
    return f"<data><cellLine>{line}</cellLine>{places}<assayImage>{pictures}</assayImage></data>"


def antibody(name, *parts, source="HPA", **assays):
    """`parts` are the usual staining; keyword arguments other assays."""
    groups = {"human": parts, **assays}
    inside = "".join(
        f'<subAssay type="{kind}"><verification type="validation">supported</verification>'
        f'<image imageType="selected"><imageUrl>http://v18.proteinatlas.org/images/1/if_selected.jpg</imageUrl></image>'
        f"{''.join(blocks)}</subAssay>"
        for kind, blocks in groups.items()
    )
    tissue = '<tissueExpression source="HPA"><data><location>none</location></data></tissueExpression>'
    return f'<antibody id="{name}">{tissue}<cellExpression source="{source}">{inside}</cellExpression></antibody>'


def entry(ensembl_id, gene, *antibodies, reliability="Approved"):
    return f"""<entry version="18" url="http://v18.proteinatlas.org/{ensembl_id}"><name>{gene}</name>
      <identifier id="{ensembl_id}" db="Ensembl" version="88"/>
      <cellExpression source="HPA"><verification type="reliability">{reliability}</verification>
        <image imageType="selected"><imageUrl>http://v18.proteinatlas.org/images/1/1_A1_1_selected.jpg</imageUrl></image>
      </cellExpression>{"".join(antibodies)}</entry>"""


def release(*entries):
    return f'<?xml version="1.0" encoding="UTF-8"?><proteinAtlas>{"".join(entries)}</proteinAtlas>'.encode()


HOST = "http://v18.proteinatlas.org/images"


def small_release(host=HOST):
    """Three genes: two antibodies for the first, one antibody shared by the others, other assays beside."""
    shared = antibody("HPA000003", data("U-2 OS", ["vesicles"], [f"{host}/3/30_C1_1"]))
    return release(
        entry(
            "ENSG00000000001",
            "AAA1",
            antibody(
                "HPA000001",
                data("U-2 OS", ["cytosol", "golgi apparatus"], [f"{host}/1/10_A1_1", f"{host}/1/10_A1_2"]),
                data("A-431", ["cytosol"], [f"{host}/1/11_A1_1"]),
                gfp=[data("HeLa", ["cytosol"], [f"{host}/1/fp7_D4_2"])],
                siRNA=[data("U-2 OS", [], [f"{host}/1/12_A1_1"])],
                mouse=[data("NIH 3T3", [], [f"{host}/1/13_A1_1"])],
            ),
            antibody("CAB000002", data("U-2 OS", [], [f"{host}/2/1843_E1_11_cr5af96f44b4a7b"])),
            antibody("HPA000009", data("U-2 OS", ["cytosol"], [f"{host}/9/99_A1_1"]), source="other"),
            reliability="Enhanced",
        ),
        entry("ENSG00000000002", "BBB2", shared, reliability="Uncertain"),
        entry("ENSG00000000003", "BBB3", shared),
    )


LOCATION_TABLE = (
    "Gene\tGene name\tReliability\tMain location\tAdditional location\n"
    "ENSG00000000001\tAAA1\tEnhanced\tCytosol\tGolgi apparatus;Cell junctions\n"
    "ENSG00000000002\tBBB2\tUncertain\tVesicles\t\n"
    "ENSG00000000003\tBBB3\tApproved\tVesicles\t\n"
)


def zipped(text, name="subcellular_location.tsv"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def colored_jpeg(plane, color):
    """A stain as HPA publishes it: a picture of one hue."""
    picture = np.zeros((*plane.shape, 3), np.uint8)
    picture[..., PIXEL_HUES[color]] = plane[..., None]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def packed(data):
    return gzip.compress(data, mtime=0)
