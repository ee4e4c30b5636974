// What is known of one unit of the map (a protein, mostly): its tooltip, and its page beside the map.

const HPA = "https://www.proteinatlas.org/";

function hpaLinks(data, row) {
  if (data.simulated) return element("p", { class: "quiet" }, "A simulated protein: it has no entry in the Human Protein Atlas.");
  const links = [], outside = { rel: "noreferrer noopener", target: "_blank" };
  const ensembl = data.namesOf(data.column("ensembl_id"), row)[0], gene = data.unit === "gene" ? data.names[row] : data.namesOf(data.column("gene"), row)[0];
  if (ensembl) {
    links.push(element("a", { href: `${HPA}${encodeURIComponent(ensembl)}/subcellular`, ...outside }, "Human Protein Atlas, subcellular"));
  } else if (gene) {
    links.push(element("a", { href: `${HPA}search/${encodeURIComponent(gene)}`, ...outside }, "Search the Human Protein Atlas"));
  }
  return links.length ? element("p", { class: "links" }, ...links) : null;
}

function drawTile(data, tile, { half = null, attention = false } = {}) {
  const { side, columns, captions } = data.pictures, width = half === null ? 2 * side : side;
  const canvas = element("canvas", { width, height: side, role: "img", "aria-label": `Cell: ${captions[tile] || "no description"}` });
  const draw = () => {
    const context = canvas.getContext("2d");
    context.drawImage(data.sheet, (tile % columns) * 2 * side + (half || 0) * side, Math.floor(tile / columns) * side, width, side, 0, 0, width, side);
    if (attention) drawAttention(context, data.pictures.attention, tile, side);
  };
  if (data.sheet.complete && data.sheet.naturalWidth) draw();
  else data.sheet.addEventListener("load", draw, { once: true });
  return canvas;
}

// Where the pooling of the model looks more than evenly, over the right half: the brighter, the more.
function drawAttention(context, { rows, columns, values }, tile, side) {
  for (let n = 0; n < rows * columns; n++) {
    const share = values[tile * rows * columns + n] / 255;
    context.fillStyle = `rgb(255 176 0 / ${Math.round(share * 70)}%)`;
    context.fillRect(side + ((n % columns) * side) / columns, (Math.floor(n / columns) * side) / rows, side / columns, side / rows);
  }
}

function describeTip(data, row, levelNumber, cell) {
  const cluster = data.clusterOf(levelNumber, row), tiles = data.tilesOf(row);
  const locations = data.namesOf(data.column("locations"), row);
  return [
    tiles.length ? drawTile(data, tiles[0]) : null,
    element("b", {}, data.names[row]),
    cell ? element("span", {}, `one of its cells${cell}`) : null,
    locations.length ? element("span", {}, locations.join(", ")) : null,
    cluster ? element("span", {}, `cluster ${cluster.cluster}${cluster.name ? `: ${cluster.name}` : ""}`) : null,
  ];
}

function probabilityBar([location, probability, sd]) {
  return element("div", { class: "probability" },
    element("span", {}, location),
    element("meter", { min: 0, max: 1, value: probability ?? 0, "aria-label": `Probability of ${location}` }),
    element("span", { class: "num" }, `${(probability ?? NaN).toFixed(2)}${sd === null || sd === undefined ? "" : ` ± ${sd.toFixed(2)}`}`));
}

function unitPage(data, row, { onUnit, onCluster, onClose }) {
  const parts = [element("div", { class: "unit-head" },
    element("h3", { tabindex: "-1" }, data.names[row]),
    element("button", { type: "button", class: "plain", onclick: onClose, "aria-label": `Close the page of ${data.names[row]}` }, "Close"))];
  parts.push(hpaLinks(data, row), unitCells(data, row));

  const annotated = data.namesOf(data.column("locations"), row);
  parts.push(element("h4", {}, "Locations"), element("p", {}, "Annotated: ", annotated.length ? element("b", {}, annotated.join(", ")) : "none is known"));
  if (data.predicted) {
    parts.push(...(data.predicted[row].length
      ? [element("p", { class: "quiet" }, "Predicted, mean probability over its cells ± standard deviation:"), ...data.predicted[row].map(probabilityBar)]
      : [element("p", { class: "quiet" }, "Not predicted.")]));
  }

  parts.push(element("h4", {}, "Path in the tree"), element("ol", { class: "path" }, ...data.levels.map((level, number) => {
    const code = level.codes[row], cluster = level.clusters[code];
    if (!cluster) return element("li", {}, "–");
    return element("li", {}, element("button", { type: "button", class: "plain", onclick: () => onCluster(number, code) },
      `Level ${level.level}: cluster ${cluster.cluster}`), `${cluster.name ? ` ${cluster.name}` : ""}, ${cluster.size} members`);
  })));

  const near = data.neighborsOf(row);
  if (near.length) {
    parts.push(element("h4", {}, "Neighbours"), element("p", { class: "quiet" }, `By ${data.neighbors.by}.`),
      element("ol", { class: "neighbors" }, ...near.map(({ row: other, similarity }) => element("li", {},
        element("button", { type: "button", class: "plain", onclick: () => onUnit(other) }, data.names[other]),
        element("span", { class: "num" }, Number.isNaN(similarity) ? "" : similarity.toFixed(2)),
        element("small", {}, data.namesOf(data.column("locations"), other).join(", "))))));
  }

  const facts = data.columns.filter((column) => column.name !== "locations").map((column) => [column.title, data.namesOf(column, row).join(", ")]);
  parts.push(element("h4", {}, "What else is known"), element("dl", { class: "pairs" },
    ...facts.filter(([, value]) => value).map(([title, value]) => element("div", {}, element("dt", {}, title), element("dd", {}, value)))));
  return parts.filter(Boolean);
}

function unitCells(data, row) {
  const tiles = data.tilesOf(row);
  if (!tiles.length) return element("p", { class: "quiet" }, "No picture of its cells lies in this file.");
  const draw = (attention) => tiles.map((tile) => element("figure", { class: "cell" },
    drawTile(data, tile, { attention }), element("figcaption", {}, data.pictures.captions[tile] || "")));
  const host = element("div", { class: "cells" }, ...draw(false));
  const toggle = data.pictures.attention && element("label", { class: "toggle" },
    element("input", { type: "checkbox", onchange: (event) => host.replaceChildren(...draw(event.target.checked)) }), "Show where the model looks");
  return element("div", {}, host, toggle || null, element("p", { class: "quiet" },
    `Left all stains (microtubules red, protein green, nucleus blue, ER faint yellow), right the protein alone; ${data.pictures.um} µm a side. `
    + "From the most typical cell, nearest to the mean vector, to an unusual one. These cells share their contrast."
    + (data.pictures.attention ? " The model looks where it is amber, the more the brighter; without colour, no more than at any other place." : "")));
}
