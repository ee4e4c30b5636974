// Data of one map, unpacked from JSON. Nothing in it is ever run or parsed as HTML: text reaches the page as text.

const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array };

function unpack(packed) {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[packed.type](bytes.buffer);
}

function readColumn(column) {
  const { name, title, kind, categories, values } = column;
  if (kind === "number") return { name, title, kind, values: unpack(values) };
  if (kind === "name") return { name, title, kind, values };
  const codes = unpack(column.codes);
  return kind === "list"
    ? { name, title, kind, categories, starts: unpack(column.starts), codes }
    : { name, title, kind, categories, codes };
}

// Positions in 0..1, y downwards as on a screen.
function readPlaces(packed) {
  const x = Float32Array.from(unpack(packed.x), (step) => step / 65535);
  const y = Float32Array.from(unpack(packed.y), (step) => 1 - step / 65535);
  return { x, y, count: x.length };
}

class MapData {
  constructor(json) {
    Object.assign(this, {
      dataset: json.dataset, model: json.model, line: json.line, simulated: json.simulated, unit: json.unit, average: json.average,
      reason: json.reason, names: json.names, predicted: json.predicted || null,
    });
    if (this.reason || !json.x) return;
    this.places = readPlaces(json);
    this.columns = json.columns.map(readColumn);
    this.levels = json.levels.map((level) => ({ ...level, codes: unpack(level.codes) }));
    this.levels.forEach((level, number) => this.#link(level, this.levels[number - 1]));
    this.neighbors = { ...json.neighbors, codes: unpack(json.neighbors.codes), similarity: unpack(json.neighbors.similarity) };
    this.cells = json.cells && {
      total: json.cells.total,
      places: readPlaces(json.cells),
      unit: unpack(json.cells.unit),
      columns: json.cells.columns.map(readColumn),
    };
    this.pictures = json.pictures && { ...json.pictures, starts: unpack(json.pictures.starts) };
    if (this.pictures?.attention) this.pictures.attention.values = unpack(this.pictures.attention.values);
    if (this.pictures) {
      this.sheet = new Image();
      this.sheet.src = this.pictures.uri;
      this.pictures.uri = "";
    }
    this.lower = this.names.map((name) => name.toLowerCase());
  }

  // Number of the parent in the level before, and of the children in the level after.
  #link(level, before) {
    for (const cluster of level.clusters) {
      cluster.parentNumber = before ? before.clusters.findIndex((other) => other.cluster === cluster.parent) : -1;
      cluster.children = [];
    }
    if (before) {
      level.clusters.forEach((cluster, number) => before.clusters[cluster.parentNumber]?.children.push(number));
    }
  }

  column(name) {
    return this.columns.find((column) => column.name === name);
  }

  namesOf(column, row) {
    if (!column) return [];
    if (column.kind === "list") {
      return Array.from(column.codes.subarray(column.starts[row], column.starts[row + 1]), (code) => column.categories[code]);
    }
    if (column.kind === "name") return column.values[row] ? [column.values[row]] : [];
    if (column.kind === "number") return Number.isNaN(column.values[row]) ? [] : [shortNumber(column.values[row])];
    return column.codes[row] < column.categories.length ? [column.categories[column.codes[row]]] : [];
  }

  clusterOf(levelNumber, row) {
    return this.levels[levelNumber]?.clusters[this.levels[levelNumber].codes[row]];
  }

  membersOf(levelNumber, clusterNumber) {
    const found = [];
    this.levels[levelNumber].codes.forEach((code, row) => code === clusterNumber && found.push(row));
    return found;
  }

  neighborsOf(row) {
    const { k, codes, similarity } = this.neighbors;
    const found = [];
    for (let i = row * k; i < (row + 1) * k; i++) {
      if (codes[i] < this.names.length) found.push({ row: codes[i], similarity: similarity[i] });
    }
    return found;
  }

  tilesOf(row) {
    if (!this.pictures) return [];
    const found = [];
    for (let tile = this.pictures.starts[row]; tile < this.pictures.starts[row + 1]; tile++) found.push(tile);
    return found;
  }

  // Names that begin with the text come first, then those that hold it.
  search(text, most = 8) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const begins = [], holds = [];
    for (let row = 0; row < this.lower.length && begins.length < most; row++) {
      const place = this.lower[row].indexOf(wanted);
      if (place === 0) begins.push(row);
      else if (place > 0 && holds.length < most) holds.push(row);
    }
    return [...begins, ...holds].slice(0, most);
  }
}

const plural = (name) => (name.endsWith("y") ? `${name.slice(0, -1)}ies` : `${name}s`);

function shortNumber(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 0.01 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}
