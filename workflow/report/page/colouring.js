// Colours and shapes of points, and the legend that explains them. Eight colours that any colour vision tells apart, each
// with four shapes; a legend entry can be picked to see its points alone, so nothing depends on colour.

const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31"];
const RAMP = ["#0d0887", "#5302a3", "#8b0aa5", "#b83289", "#db5c68", "#f48849", "#febd2a"]; // plasma, without its palest end
const MISSING = "#c3cad2";
const SEVERAL = -1; // in place of a code: a point in the colours of its first two
const MOST_ENTRIES = 24;
const MOST_LABELS = 60;

function abgr(hex) {
  const value = parseInt(hex.slice(1), 16);
  return (0xff000000 | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

function onRamp(share) {
  const place = Math.max(0, Math.min(1, share)) * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(place));
  const [from, to] = [abgr(RAMP[low]), abgr(RAMP[low + 1])], part = place - low;
  let color = 0xff000000;
  for (const shift of [0, 8, 16]) {
    color |= Math.round(((from >> shift) & 255) * (1 - part) + ((to >> shift) & 255) * part) << shift;
  }
  return color >>> 0;
}

function lookOfCategory(number, count) {
  if (number >= count) return { color: MISSING, shape: 0 };
  return { color: PALETTE[number % PALETTE.length], shape: Math.floor(number / PALETTE.length) % SHAPES.length };
}

// What points are coloured by: {kind, categories, codeOf(row), has(row, code)} or {kind: "number", valueOf(row)}.
function colouringOf(column) {
  if (column.kind === "number") return { kind: "number", title: column.title, valueOf: (row) => column.values[row] };
  const count = column.categories.length;
  if (column.kind === "list") {
    return {
      kind: "list", title: column.title, categories: column.categories,
      codeOf: (row) => {
        const many = column.starts[row + 1] - column.starts[row];
        return many === 0 ? count : many === 1 ? column.codes[column.starts[row]] : SEVERAL;
      },
      pairOf: (row) => [column.codes[column.starts[row]], column.codes[column.starts[row] + 1]],
      has: (row, code) => {
        for (let n = column.starts[row]; n < column.starts[row + 1]; n++) if (column.codes[n] === code) return true;
        return false;
      },
    };
  }
  return {
    kind: "category", title: column.title, categories: column.categories,
    codeOf: (row) => column.codes[row], has: (row, code) => column.codes[row] === code,
  };
}

function colouringOfLevel(level) {
  return {
    kind: "category", title: `Cluster at level ${level.level}`, cluster: true,
    categories: level.clusters.map((cluster) => (cluster.name ? `${cluster.cluster}: ${cluster.name}` : String(cluster.cluster))),
    codeOf: (row) => level.codes[row], has: (row, code) => level.codes[row] === code,
  };
}

function colouringOfStability(level) {
  return {
    kind: "number", title: `Stability of the cluster at level ${level.level}`, range: [0, 1],
    valueOf: (row) => level.clusters[level.codes[row]]?.stability ?? NaN,
  };
}

// The same for cells: each has the value of its unit.
function throughUnits(colouring, unit) {
  const through = { ...colouring };
  for (const name of ["codeOf", "pairOf", "has", "valueOf"]) {
    if (colouring[name]) through[name] = (row, ...rest) => colouring[name](unit[row], ...rest);
  }
  return through;
}

function applyColouring(colouring, count, { only = -1, keep = null } = {}) {
  const colors = new Uint32Array(count), shapes = new Uint8Array(count), dim = new Uint8Array(count);
  let halves = null;
  if (colouring.kind === "number") {
    const [low, high] = rangeOf(colouring, count), missing = abgr(MISSING);
    for (let i = 0; i < count; i++) {
      const value = colouring.valueOf(i);
      colors[i] = Number.isNaN(value) ? missing : onRamp((value - low) / (high - low || 1));
    }
  } else {
    const looks = colouring.categories.map((_, number) => lookOfCategory(number, colouring.categories.length));
    const values = looks.map(({ color }) => abgr(color)), missing = abgr(MISSING);
    if (colouring.kind === "list") halves = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const code = colouring.codeOf(i);
      if (only >= 0) {
        if (!colouring.has(i, only)) dim[i] = 1;
        else [colors[i], shapes[i]] = [values[only], looks[only].shape];
      } else if (code === SEVERAL) {
        const [first, second] = colouring.pairOf(i);
        [colors[i], halves[i]] = [values[first], values[second]];
        continue;
      } else [colors[i], shapes[i]] = [values[code] ?? missing, looks[code]?.shape ?? 0];
      if (halves) halves[i] = colors[i];
    }
  }
  if (keep) for (let i = 0; i < count; i++) if (!keep(i)) dim[i] = 1;
  return { colors, halves, shapes, dim };
}

function rangeOf(colouring, count) {
  if (colouring.range) return colouring.range;
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < count; i++) {
    const value = colouring.valueOf(i);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// One number a cluster, at the point nearest to the middle of its points.
function clusterLabels(level, places) {
  const many = level.clusters.length;
  if (many > MOST_LABELS) return [];
  const x = new Float64Array(many), y = new Float64Array(many), size = new Float64Array(many);
  for (let i = 0; i < places.count; i++) {
    const code = level.codes[i];
    if (code < many) [x[code], y[code], size[code]] = [x[code] + places.x[i], y[code] + places.y[i], size[code] + 1];
  }
  const rows = new Int32Array(many).fill(-1), best = new Float64Array(many).fill(Infinity);
  for (let i = 0; i < places.count; i++) {
    const code = level.codes[i];
    if (code >= many) continue;
    const distance = (places.x[i] - x[code] / size[code]) ** 2 + (places.y[i] - y[code] / size[code]) ** 2;
    if (distance < best[code]) [best[code], rows[code]] = [distance, i];
  }
  return Array.from(rows, (row, code) => ({ row, text: String(level.clusters[code].cluster) })).filter(({ row }) => row >= 0);
}

function mark(color, shape, half = color) {
  const canvas = element("canvas", { width: 14, height: 14, "aria-hidden": "true", class: "mark" });
  const { half: middle, side, alpha } = stampOf(SHAPES[shape], 5), context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  alpha.forEach((share, n) => {
    const value = parseInt((n % side <= middle ? color : half).slice(1), 16);
    image.data.set([value >> 16, (value >> 8) & 255, value & 255, Math.min(255, share + 20 * (share > 0))], 4 * n);
  });
  context.putImageData(image, 7 - middle, 7 - middle);
  return canvas;
}

// The legend: buttons for categories, a bar for numbers.
function legendOf(colouring, count, only, onOnly) {
  if (colouring.kind === "number") {
    const [low, high] = rangeOf(colouring, count), bar = element("canvas", { width: 120, height: 10, class: "ramp", "aria-hidden": "true" });
    const context = bar.getContext("2d");
    for (let x = 0; x < 120; x++) {
      const color = onRamp(x / 119);
      context.fillStyle = `rgb(${color & 255} ${(color >> 8) & 255} ${(color >> 16) & 255})`;
      context.fillRect(x, 0, 1, 10);
    }
    return [element("span", { class: "range" }, shortNumber(low), bar, shortNumber(high)), entry(MISSING, 0, "unknown")];
  }
  const tally = new Map();
  for (let i = 0; i < count; i++) tally.set(colouring.codeOf(i), (tally.get(colouring.codeOf(i)) || 0) + 1);
  const total = (code) => {
    if (colouring.kind !== "list") return tally.get(code) || 0;
    let n = 0;
    for (let i = 0; i < count; i++) n += colouring.has(i, code);
    return n;
  };
  const shown = colouring.categories.slice(0, MOST_ENTRIES).map((name, code) => {
    const { color, shape } = lookOfCategory(code, colouring.categories.length);
    return element("button", { type: "button", class: "entry", "aria-pressed": String(only === code), onclick: () => onOnly(only === code ? -1 : code) },
      mark(color, shape), name, element("small", {}, String(total(code))));
  });
  const hidden = colouring.categories.length - shown.length;
  if (hidden > 0) shown.push(element("span", { class: "entry" }, `and ${hidden} more`));
  if (tally.get(SEVERAL)) shown.push(entry(PALETTE[0], 0, `two colours: several (${tally.get(SEVERAL)})`, PALETTE[4]));
  if (tally.get(colouring.categories.length)) shown.push(entry(MISSING, 0, `unknown (${tally.get(colouring.categories.length)})`));
  return shown;
}

function entry(color, shape, text, half) {
  return element("span", { class: "entry" }, mark(color, shape, half), text);
}
