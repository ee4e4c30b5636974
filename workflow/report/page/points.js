// Points on a canvas, written pixel by pixel: 200,000 of them stay smooth without WebGL, which a strict content security
// policy, a remote desktop or a virtual machine may not offer.

const MOST_RATIO = 2;
const GRID = 96;
const SHAPES = ["circle", "square", "triangle", "diamond"];
const DIM = 0xffebe6e1; // as ABGR: a grey that is there but does not compete

function stampOf(shape, radius) {
  const half = Math.ceil(radius + 0.5), side = 2 * half + 1, alpha = new Uint8Array(side * side), samples = 4;
  const inside = {
    circle: (x, y) => x * x + y * y <= radius * radius,
    square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= radius * 0.88,
    triangle: (x, y) => y <= radius * 0.8 && y >= 2 * Math.abs(x) - radius * 1.15,
    diamond: (x, y) => Math.abs(x) + Math.abs(y) <= radius * 1.2,
  }[shape];
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      let hit = 0;
      for (let s = 0; s < samples * samples; s++) {
        hit += inside(column - half + ((s % samples) + 0.5) / samples - 0.5, row - half + (Math.floor(s / samples) + 0.5) / samples - 0.5);
      }
      alpha[row * side + column] = Math.round((hit / samples ** 2) * 235);
    }
  }
  return { half, side, alpha };
}

class PointPlot {
  constructor(canvas, { onHover = () => {}, onPick = () => {}, onLasso = () => {}, padding = 0.02 } = {}) {
    Object.assign(this, { canvas, onHover, onPick, onLasso, padding });
    this.context = canvas.getContext("2d", { alpha: false });
    this.labels = [];
    this.marked = [];
    this.view = { scale: 1, x: 0, y: 0 };
    this.lasso = false;
    this.path = null;
    this.focus = -1;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.#listen();
  }

  setPoints(places) {
    if (this.places === places) return;
    this.places = places;
    this.focus = -1;
    this.marked = [];
    this.labels = [];
    this.colors = new Uint32Array(places.count).fill(0xffa8b4c0);
    this.halves = null;
    this.shapes = new Uint8Array(places.count);
    this.dim = new Uint8Array(places.count);
    this.#fillGrid();
    this.#reorder();
    this.draw();
  }

  // colors as ABGR, halves the colours of the right half of each point, shapes 0..3, dim 1 for points in the background.
  setLook({ colors, halves = null, shapes, dim, labels = [] }) {
    Object.assign(this, { colors, halves, shapes, dim, labels });
    this.#reorder();
    this.draw();
  }

  #reorder() {
    const order = new Uint32Array(this.places.count);
    let place = 0;
    for (let i = 0; i < order.length; i++) if (this.dim[i]) order[place++] = i;
    for (let i = 0; i < order.length; i++) if (!this.dim[i]) order[place++] = i;
    this.order = order;
  }

  #fillGrid() {
    const { x, y, count } = this.places;
    const starts = new Uint32Array(GRID * GRID + 1), cell = new Uint16Array(count);
    for (let i = 0; i < count; i++) {
      cell[i] = Math.min(GRID - 1, Math.floor(y[i] * GRID)) * GRID + Math.min(GRID - 1, Math.floor(x[i] * GRID));
      starts[cell[i] + 1]++;
    }
    for (let c = 0; c < GRID * GRID; c++) starts[c + 1] += starts[c];
    const next = starts.slice(0, -1), items = new Uint32Array(count);
    for (let i = 0; i < count; i++) items[next[cell[i]]++] = i;
    this.grid = { starts, items };
  }

  resize() {
    const ratio = Math.min(MOST_RATIO, window.devicePixelRatio || 1);
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (this.image && width === this.canvas.width && height === this.canvas.height) return;
    this.ratio = ratio;
    this.canvas.width = width;
    this.canvas.height = height;
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.drawNow();
  }

  // From 0..1 to pixels of the canvas: (x * side + left).
  #frame() {
    const { width, height } = this.canvas;
    const side = Math.min(width, height) * (1 - 2 * this.padding) * this.view.scale;
    return { side, left: width / 2 + (this.view.x - 0.5) * side, top: height / 2 + (this.view.y - 0.5) * side };
  }

  get radius() {
    const base = this.places.count > 40000 ? 0.9 : Math.min(6.5, Math.max(1.6, 110 / Math.sqrt(this.places.count)));
    return base * this.ratio * Math.min(2.2, Math.sqrt(this.view.scale));
  }

  draw() {
    if (this.waiting || !this.places) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.image || !this.places) return;
    this.pixels.fill(0xffffffff);
    if (this.radius < 1.5 * this.ratio) this.#blocks(Math.max(2, Math.round(2 * this.radius)));
    else this.#stamps();
    this.context.putImageData(this.image, 0, 0);
    this.#overlay();
    this.canvas.dataset.frames = String(Number(this.canvas.dataset.frames || 0) + 1);
  }

  #blocks(side) {
    const { x, y } = this.places, { side: scale, left, top } = this.#frame(), { width, height } = this.canvas;
    const { pixels, colors, dim, order } = this;
    for (let n = 0; n < order.length; n++) {
      const i = order[n], column = (x[i] * scale + left) | 0, row = (y[i] * scale + top) | 0;
      if (column < 0 || row < 0 || column > width - side || row > height - side) continue;
      const color = dim[i] ? DIM : colors[i];
      for (let r = row * width + column, end = r + side * width; r < end; r += width) {
        for (let p = r; p < r + side; p++) pixels[p] = color;
      }
    }
  }

  #stamps() {
    const { x, y } = this.places, { side: scale, left, top } = this.#frame(), { width, height } = this.canvas;
    const { pixels, colors, halves, shapes, dim, order } = this;
    const stamps = SHAPES.map((shape) => stampOf(shape, this.radius));
    for (let n = 0; n < order.length; n++) {
      const i = order[n], { half, side, alpha } = stamps[shapes[i]];
      const column = Math.round(x[i] * scale + left) - half, row = Math.round(y[i] * scale + top) - half;
      if (column < 0 || row < 0 || column + side > width || row + side > height) continue;
      const one = dim[i] ? DIM : colors[i], other = halves && !dim[i] ? halves[i] : one;
      for (let r = 0, a = 0; r < side; r++) {
        let p = (row + r) * width + column;
        for (let c = 0; c < side; c++, a++, p++) {
          const share = alpha[a];
          if (!share) continue;
          const color = c <= half ? one : other;
          const red = color & 255, green = (color >> 8) & 255, blue = (color >> 16) & 255;
          const under = pixels[p], rest = 255 - share;
          pixels[p] = 0xff000000
            | (((blue * share + ((under >> 16) & 255) * rest) >> 8) + 1 << 16)
            | (((green * share + ((under >> 8) & 255) * rest) >> 8) + 1 << 8)
            | (((red * share + (under & 255) * rest) >> 8) + 1);
        }
      }
    }
  }

  #overlay() {
    const { context, ratio } = this, { x, y } = this.places, { side, left, top } = this.#frame();
    context.lineJoin = "round";
    context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    for (const { row, text } of this.labels) {
      const px = x[row] * side + left + 5 * ratio, py = y[row] * side + top - 5 * ratio;
      context.lineWidth = 3.5 * ratio;
      context.strokeStyle = "#fff";
      context.strokeText(text, px, py);
      context.fillStyle = "#1b2430";
      context.fillText(text, px, py);
    }
    for (const row of this.focus >= 0 ? [...this.marked, this.focus] : this.marked) {
      context.beginPath();
      context.arc(x[row] * side + left, y[row] * side + top, this.radius + 4 * ratio, 0, 7);
      context.lineWidth = 2.5 * ratio;
      context.strokeStyle = row === this.focus ? "#1b2430" : "#b34a00";
      context.stroke();
    }
    if (this.path) {
      context.beginPath();
      this.path.forEach(([px, py]) => context.lineTo(px * side + left, py * side + top));
      context.closePath();
      context.fillStyle = "rgb(11 110 117 / 10%)";
      context.fill();
      context.lineWidth = 1.5 * ratio;
      context.strokeStyle = "#0b6e75";
      context.stroke();
    }
  }

  #toData(event) {
    const box = this.canvas.getBoundingClientRect(), { side, left, top } = this.#frame();
    return [((event.clientX - box.left) * this.ratio - left) / side, ((event.clientY - box.top) * this.ratio - top) / side];
  }

  // Where a point stands in the page, in CSS pixels of the canvas.
  placeOf(row) {
    const { side, left, top } = this.#frame();
    return [(this.places.x[row] * side + left) / this.ratio, (this.places.y[row] * side + top) / this.ratio];
  }

  // The nearest point that is not in the background, -1 where none is near.
  nearest([px, py], reach = 14 * this.ratio) {
    if (!this.image || !this.places) return -1;
    const { x, y } = this.places, { side } = this.#frame(), far = reach / side;
    const clamp = (value) => Math.max(0, Math.min(GRID - 1, Math.floor(value * GRID)));
    let best = -1, bestDistance = far * far;
    for (let gy = clamp(py - far); gy <= clamp(py + far); gy++) {
      for (let gx = clamp(px - far); gx <= clamp(px + far); gx++) {
        const cell = gy * GRID + gx;
        for (let n = this.grid.starts[cell]; n < this.grid.starts[cell + 1]; n++) {
          const i = this.grid.items[n];
          if (this.dim[i]) continue;
          const distance = (x[i] - px) ** 2 + (y[i] - py) ** 2;
          if (distance < bestDistance) [best, bestDistance] = [i, distance];
        }
      }
    }
    return best;
  }

  insideOf(path) {
    const { x, y, count } = this.places, found = [];
    for (let i = 0; i < count; i++) {
      if (this.dim[i]) continue;
      let inside = false;
      for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
        const [ax, ay] = path[a], [bx, by] = path[b];
        if (ay > y[i] !== by > y[i] && x[i] < ((bx - ax) * (y[i] - ay)) / (by - ay) + ax) inside = !inside;
      }
      if (inside) found.push(i);
    }
    return found;
  }

  zoom(factor, [px, py] = [0.5 - this.view.x, 0.5 - this.view.y]) {
    const scale = Math.max(0.8, Math.min(60, this.view.scale * factor)), change = this.view.scale / scale;
    // The place under the pointer stays where it is.
    this.view.x = (px + this.view.x - 0.5) * change - px + 0.5;
    this.view.y = (py + this.view.y - 0.5) * change - py + 0.5;
    this.view.scale = scale;
    this.draw();
  }

  reset() {
    this.view = { scale: 1, x: 0, y: 0 };
    this.draw();
  }

  setFocus(row) {
    this.focus = row;
    this.draw();
  }

  // The next point in a direction, as the arrow keys ask for it.
  step(dx, dy) {
    const { x, y, count } = this.places;
    if (this.focus < 0) return this.nearest([0.5 - this.view.x, 0.5 - this.view.y], 1e9);
    let best = this.focus, bestCost = Infinity;
    for (let i = 0; i < count; i++) {
      const ox = x[i] - x[this.focus], oy = y[i] - y[this.focus];
      const along = ox * dx + oy * dy, aside = Math.abs(ox * dy) + Math.abs(oy * dx);
      if (this.dim[i] || along <= 1e-6 || aside > along * 1.5) continue;
      const cost = along + 2 * aside;
      if (cost < bestCost) [best, bestCost] = [i, cost];
    }
    return best;
  }

  #listen() {
    const { canvas } = this;
    let down = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || !this.places) return;
      canvas.setPointerCapture(event.pointerId);
      const at = this.#toData(event);
      down = { x: event.clientX, y: event.clientY, view: { ...this.view }, moved: false };
      if (this.lasso || event.shiftKey) this.path = [at];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.places) return;
      if (!down) return this.onHover(this.nearest(this.#toData(event)), event);
      if (Math.hypot(event.clientX - down.x, event.clientY - down.y) > 4) down.moved = true;
      if (this.path) this.path.push(this.#toData(event));
      else if (down.moved) {
        const { side } = this.#frame();
        this.view.x = down.view.x + ((event.clientX - down.x) * this.ratio) / side;
        this.view.y = down.view.y + ((event.clientY - down.y) * this.ratio) / side;
      }
      this.draw();
    });
    const up = (event) => {
      if (!down) return;
      const path = this.path;
      const { moved } = down;
      this.path = down = null;
      if (path && path.length > 3) this.onLasso(this.insideOf(path));
      else if (!moved && event.type === "pointerup") this.onPick(this.nearest(this.#toData(event)));
      this.draw();
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", (event) => this.onHover(-1, event));
    canvas.addEventListener("wheel", (event) => {
      // Without a modifier the wheel scrolls the page, unless the map was clicked.
      if (!(event.ctrlKey || event.metaKey || document.activeElement === canvas)) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), this.#toData(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(1.8, this.#toData(event)));
  }
}
