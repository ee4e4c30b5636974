"""Reading a release of the Human Protein Atlas: generated XML of many genes against a parser that only walks it.

Usage: PYTHONPATH=workflow/scripts python speed/catalog.py [genes]
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TISSUE = """<tissueExpression source="HPA" technology="IHC"><data><tissue>liver</tissue><level type="staining">low</level>
<patient><sex>Male</sex><age>41</age><patientId>2429</patientId><sample><assayImage><image imageType="sampleImage"><imageUrl>
http://v18.proteinatlas.org/images/{n}/{n}_B_4_5.jpg</imageUrl></image></assayImage></sample></patient></data></tissueExpression>
"""
CELLS = """<data><cellLine>{line}</cellLine><location GOId="GO:0005829">cytosol</location><assayImage>
<image imageType="sampleImage"><channel color="blue">nucleus</channel><channel color="red">microtubules</channel>
<imageUrl>http://v18.proteinatlas.org/images/{n}/{n}_A1_1_blue_red_green.jpg</imageUrl></image><image imageType="sampleImage">
<imageUrl>http://v18.proteinatlas.org/images/{n}/{n}_A1_2_blue_red_green.jpg</imageUrl></image></assayImage></data>"""
TISSUES_A_GENE = 600
"""Tissue images make up nearly all of a release: about 215 kB a gene here."""

WALK = """
import sys
from lxml import etree
for event, element in etree.iterparse(sys.argv[1], events=("end",)):
    if element.tag == "entry":
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
"""
WALK_ELEMENTTREE = """
import sys
import xml.etree.ElementTree as ET
for event, element in ET.iterparse(sys.argv[1]):
    if element.tag == "entry":
        element.clear()
"""
READ = """
import sys
from subcell.sources.hpa.entries import read_entries
images = read_entries(sys.argv[1], log=lambda text: None)
assert len(images) == 6 * int(sys.argv[2]), len(images)
"""


def write_release(path: Path, genes: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<proteinAtlas>\n')
        for n in range(1, genes + 1):
            cells = "".join(CELLS.format(line=line, n=n) for line in ("U-2 OS", "A-431", "U-251 MG"))
            file.write(f'<entry version="18"><name>GENE{n}</name><identifier id="ENSG{n:011d}" db="Ensembl"/>')
            file.write(f'<antibody id="HPA{n:06d}">{TISSUE.format(n=n) * TISSUES_A_GENE}')
            file.write(f'<cellExpression source="HPA"><subAssay type="human">{cells}</subAssay></cellExpression>')
            file.write("</antibody></entry>\n")
        file.write("</proteinAtlas>\n")


def timed(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of a Python process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the case failed: {code}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    genes = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proteinatlas.xml"
        write_release(path, genes)
        size = path.stat().st_size
        print(f"# {genes:,} genes, {size / 1e9:.2f} GB; peak memory of this process {peak():.0f} MB")
        print("case\tours\tpeer\tunit\tratio")
        ours, memory = timed(READ, str(path), str(genes))
        for name, code in (("lxml iterparse", WALK), ("ElementTree iterparse", WALK_ELEMENTTREE)):
            peer, peer_memory = timed(code, str(path))
            rates = f"{size / ours / 1e6:.1f}\t{size / peer / 1e6:.1f}\tMB/s\t{peer / ours:.2f}"
            print(f"read all images, against a walk with {name}\t{rates}")
            print(f"peak memory, the same\t{memory:.0f}\t{peer_memory:.0f}\tMB\t")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
