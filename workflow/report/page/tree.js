// The levels side by side: each cluster a bar beside its parent, as high as it has members.

const SVG = "http://www.w3.org/2000/svg";
const ROW_HEIGHT = 12;
const LINE_HEIGHT = 13;

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Lines of at most so many characters, as many as there is room for; what is cut ends in an ellipsis.
function wrapped(text, most, room) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + 1 + word.length > most) lines.push(word);
    else lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  const shown = lines.slice(0, room);
  if (shown.length && shown.length < lines.length) shown[shown.length - 1] += "…";
  return shown.map((line) => (line.length > most ? `${line.slice(0, most - 1)}…` : line));
}

class Tree {
  constructor(host, { onPick, onHover }) {
    Object.assign(this, { host, onPick, onHover, bars: new Map() });
    // Out of sight it has no width to be drawn in.
    new ResizeObserver(() => this.waiting && this.show(this.waiting)).observe(host);
  }

  show(data) {
    const width = this.host.clientWidth;
    this.waiting = data;
    if (!width || (this.data === data && this.width === width)) return;
    Object.assign(this, { data, width });
    this.bars.clear();
    const { levels } = data, column = width / levels.length;
    const leaves = levels.at(-1).clusters.length;
    const height = Math.max(440, Math.min(900, leaves * ROW_HEIGHT));
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", height, role: "group", "aria-label": "Clusters of all levels; arrow keys move between them" });
    const place = (levelNumber, number, top, share) => {
      const cluster = levels[levelNumber].clusters[number];
      this.#bar(svg, levelNumber, number, { x: levelNumber * column, y: top, width: column, height: share });
      const sum = cluster.children.reduce((total, child) => total + levels[levelNumber + 1].clusters[child].size, 0);
      for (const child of cluster.children) {
        const part = (share * levels[levelNumber + 1].clusters[child].size) / (sum || 1);
        place(levelNumber + 1, child, top, part);
        top += part;
      }
    };
    let top = 0;
    const whole = levels[0].clusters.reduce((total, cluster) => total + cluster.size, 0);
    levels[0].clusters.forEach((cluster, number) => {
      const part = (height * cluster.size) / whole;
      place(0, number, top, part);
      top += part;
    });
    svg.addEventListener("keydown", (event) => this.#key(event));
    this.host.replaceChildren(svg);
    this.bars.values().next().value?.setAttribute("tabindex", "0");
    this.highlight(...(this.lit || []));
  }

  #bar(svg, levelNumber, number, { x, y, width, height }) {
    const cluster = this.data.levels[levelNumber].clusters[number], { color } = lookOfCategory(number, Infinity);
    const about = `Level ${this.data.levels[levelNumber].level}, cluster ${cluster.cluster}${cluster.name ? `: ${cluster.name}` : ""}, ${cluster.size} members`
      + (cluster.stability === undefined ? "" : `, stability ${cluster.stability.toFixed(2)}`);
    const bar = shape("g", { class: "bar", tabindex: "-1", role: "button", "aria-pressed": "false", "aria-label": about },
      shape("title", {}, about),
      shape("rect", { x: x + 1, y: y + 0.5, width: width - 2, height: Math.max(1, height - 1), rx: 2 }),
      shape("rect", { x: x + 1, y: y + 0.5, width: 5, height: Math.max(1, height - 1), fill: color, class: "edge" }));
    wrapped(`${cluster.cluster}  ${cluster.name || ""}`, Math.floor((width - 16) / 6.2), Math.floor((height - 2) / LINE_HEIGHT)).forEach((text, line) => {
      bar.append(shape("text", { x: x + 11, y: y + 11.5 + line * LINE_HEIGHT }, text));
    });
    bar.addEventListener("click", () => this.onPick(levelNumber, number));
    bar.addEventListener("pointerenter", () => this.onHover(levelNumber, number));
    bar.addEventListener("pointerleave", () => this.onHover(-1, -1));
    bar.dataset.level = levelNumber;
    bar.dataset.cluster = number;
    this.bars.set(`${levelNumber}:${number}`, bar);
    svg.append(bar);
  }

  #key(event) {
    const bar = event.target.closest?.(".bar");
    if (!bar) return;
    const level = Number(bar.dataset.level), number = Number(bar.dataset.cluster), { levels } = this.data;
    const cluster = levels[level].clusters[number];
    const next = {
      ArrowLeft: [level - 1, cluster.parentNumber], ArrowRight: [level + 1, cluster.children[0]],
      ArrowUp: [level, number - 1], ArrowDown: [level, number + 1],
    }[event.key];
    if (event.key === "Enter" || event.key === " ") this.onPick(level, number);
    else if (next) this.bars.get(next.join(":"))?.focus();
    else return;
    event.preventDefault();
    if (next) {
      for (const other of this.bars.values()) other.setAttribute("tabindex", other === document.activeElement ? "0" : "-1");
    }
  }

  // The clusters of one unit, and the one that is picked.
  highlight(path, picked) {
    this.lit = [path, picked];
    for (const [key, bar] of this.bars) {
      const [level, number] = key.split(":").map(Number);
      bar.classList.toggle("path", path?.[level] === number);
      bar.setAttribute("aria-pressed", String(Boolean(picked) && picked.level === level && picked.number === number));
    }
  }
}
