// The explorer: which map, what colours it, which level, what is searched, selected and opened; all of it in the address.

class Explorer {
  constructor(root, maps) {
    this.root = root;
    this.maps = maps;
    this.part = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node]));
    this.state = { map: 0, level: 0, color: "", view: "units", only: -1, unit: -1, cluster: null, selection: null };
    this.plot = new PointPlot(this.part.canvas, {
      onHover: (point, event) => this.#tip(point, event),
      onPick: (point) => point >= 0 && this.open(this.#rowOf(point)),
      onLasso: (points) => this.select([...new Set(points.map((point) => this.#rowOf(point)))], "Inside the lasso"),
    });
    this.tree = new Tree(this.part.tree, {
      onPick: (level, number) => this.pickCluster(level, number),
      onHover: (level, number) => this.#preview(level, number),
    });
    this.#wire();
    maps.forEach((data, number) => this.part.map.append(new Option(`${data.dataset}, ${data.model}${data.line ? `, ${data.line} alone` : ""}${data.simulated ? " (simulated)" : ""}`, number)));
    this.part.map.closest("label").hidden = maps.length < 2;
    this.showMap(0);
    this.#fromAddress();
    window.addEventListener("hashchange", () => this.#fromAddress());
  }

  get data() {
    return this.maps[this.state.map];
  }

  get inCells() {
    return this.state.view === "cells" && Boolean(this.data.cells);
  }

  #rowOf(point) {
    return this.inCells ? this.data.cells.unit[point] : point;
  }

  #wire() {
    const { part, plot } = this;
    part.map.addEventListener("change", () => this.showMap(Number(part.map.value)));
    part.level.addEventListener("input", () => this.setLevel(Number(part.level.value) - 1));
    part.color.addEventListener("change", () => this.#set({ color: part.color.value, only: -1 }));
    part.cells.addEventListener("change", () => this.showView(part.cells.checked ? "cells" : "units"));
    part.lasso.addEventListener("click", () => this.setLasso(!plot.lasso));
    part.reset.addEventListener("click", () => plot.reset());
    part.bigger.addEventListener("click", () => plot.zoom(1.4));
    part.smaller.addEventListener("click", () => plot.zoom(1 / 1.4));
    part.search.addEventListener("input", () => this.#suggest());
    part.search.addEventListener("keydown", (event) => this.#searchKey(event));
    part.canvas.addEventListener("keydown", (event) => this.#canvasKey(event));
    for (const tab of this.root.querySelectorAll("[role=tab]")) {
      tab.addEventListener("click", () => this.showTab(tab.dataset.tab));
      tab.addEventListener("keydown", (event) => {
        if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
        const tabs = [...this.root.querySelectorAll("[role=tab]")];
        const next = tabs[(tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : tabs.length - 1)) % tabs.length];
        this.showTab(next.dataset.tab);
        next.focus();
      });
    }
  }

  showTab(name) {
    for (const tab of this.root.querySelectorAll("[role=tab]")) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (name === "tree") this.tree.show(this.data);
  }

  showMap(number) {
    this.state = { ...this.state, map: number, unit: -1, cluster: null, selection: null, only: -1 };
    const { data, part } = this;
    part.map.value = String(number);
    this.state.level = Math.min(this.state.level, data.levels.length - 1);
    part.level.max = data.levels.length;
    part.cells.closest("label").hidden = !data.cells;
    part.unitPage.replaceChildren(element("p", { class: "quiet" }, `Click a point, or search, to open the page of a ${data.unit}.`));
    part.search.value = "";
    this.plot.reset();
    this.showView("units");
    this.tree.show(this.data);
    this.#describeSelection();
  }

  showView(view) {
    this.state.view = view;
    this.part.cells.checked = view === "cells";
    const { data } = this, columns = this.inCells ? [...data.cells.columns, ...data.columns] : data.columns;
    const options = [["cluster", "Cluster"], ["stability", "Stability of the cluster"]];
    columns.filter(({ kind }) => kind !== "name").forEach(({ name, title }, number) => {
      const ofCells = this.inCells && number < data.cells.columns.length;
      options.push([ofCells ? `cells.${name}` : name, this.inCells ? `${title} (of the ${ofCells ? "cell" : data.unit})` : title]);
    });
    this.part.color.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    const kept = options.some(([value]) => value === this.state.color) ? this.state.color : data.column("locations") ? "locations" : "cluster";
    this.plot.setPoints(this.inCells ? data.cells.places : data.places);
    this.#set({ color: kept, only: -1 });
  }

  setLevel(number) {
    this.#set({ level: number, ...(["cluster", "stability"].includes(this.state.color) ? { only: -1 } : {}), cluster: null });
  }

  setLasso(on) {
    this.plot.lasso = on;
    this.part.lasso.setAttribute("aria-pressed", String(on));
    this.part.canvas.classList.toggle("lasso", on);
  }

  #set(change) {
    Object.assign(this.state, change);
    this.#paint();
  }

  #colouring() {
    const { data, state } = this, level = data.levels[state.level];
    if (state.color.startsWith("cells.")) return colouringOf(data.cells.columns.find(({ name }) => `cells.${name}` === state.color));
    const column = data.column(state.color);
    const found = state.color === "stability" ? colouringOfStability(level) : column ? colouringOf(column) : colouringOfLevel(level);
    return this.inCells ? throughUnits(found, data.cells.unit) : found;
  }

  #paint(preview = null) {
    const { data, state, part, plot } = this, level = data.levels[state.level], count = plot.places.count;
    const colouring = this.#colouring();
    const cluster = preview || state.cluster, chosen = state.selection && new Set(state.selection.rows);
    const unitOf = (point) => this.#rowOf(point);
    let keep = null;
    if (cluster) keep = (point) => data.levels[cluster.level].codes[unitOf(point)] === cluster.number;
    else if (this.inCells && state.unit >= 0) keep = (point) => unitOf(point) === state.unit;
    else if (chosen) keep = (point) => chosen.has(unitOf(point));
    const labels = colouring.cluster && !this.inCells ? clusterLabels(level, data.places) : [];
    plot.setLook({ ...applyColouring(colouring, count, { only: state.only, keep }), labels });
    plot.marked = !this.inCells && state.unit >= 0 ? [state.unit] : [];
    if (preview) return;
    part.level.value = String(state.level + 1);
    part.color.value = state.color;
    const many = level.clusters.length;
    part.levelText.textContent = `Level ${level.level} of ${data.levels.length}: ${many} cluster${many === 1 ? "" : "s"}`
      + (level.resolution === null ? "" : `, resolution ${level.resolution}`);
    part.level.setAttribute("aria-valuetext", part.levelText.textContent);
    part.legend.replaceChildren(element("b", {}, colouring.title), ...legendOf(colouring, count, state.only, (only) => this.#set({ only })));
    part.count.textContent = this.inCells
      ? `${count.toLocaleString("en")} cells${count < data.cells.total ? `, a random sample of ${data.cells.total.toLocaleString("en")}` : ""}, each placed among the ${plural(data.unit)} nearest to it`
      : `${count.toLocaleString("en")} ${plural(data.unit)}, each the ${data.average} of its cells`;
    part.canvas.setAttribute("aria-label", `Map of ${data.dataset} by ${data.model}: ${part.count.textContent}. Arrow keys move from point to point, Enter opens, plus and minus zoom.`);
    this.#describeClusters(level);
    const path = state.unit >= 0 ? data.levels.map(({ codes }) => codes[state.unit]) : null;
    this.tree.highlight(path, state.cluster);
  }

  #preview(level, number) {
    this.#paint(level >= 0 ? { level, number } : null);
  }

  pickCluster(level, number) {
    const { cluster } = this.state, same = cluster && cluster.level === level && cluster.number === number;
    this.#set({ level, cluster: same ? null : { level, number }, only: -1 });
    const { data } = this, found = data.levels[level].clusters[number];
    if (same) this.select([], "");
    else this.select(data.membersOf(level, number), `Level ${data.levels[level].level}, cluster ${found.cluster}${found.name ? `: ${found.name}` : ""}`, { terms: found });
  }

  #describeClusters(level) {
    const rows = level.clusters.map((cluster, number) => element("tr", {},
      element("th", { scope: "row" }, element("button", { type: "button", class: "plain", onclick: () => this.pickCluster(this.state.level, number) }, String(cluster.cluster))),
      element("td", {}, cluster.name || "–"),
      element("td", { class: "num" }, String(cluster.size)),
      element("td", { class: "num" }, cluster.stability === undefined ? "–" : cluster.stability.toFixed(2)),
      element("td", { class: "num" }, cluster.q_value === undefined ? "–" : cluster.q_value < 0.001 ? "< 0.001" : cluster.q_value.toFixed(3))));
    this.part.clusters.replaceChildren(...rows);
  }

  select(rows, title, { terms = null } = {}) {
    this.state.selection = rows.length ? { rows, title, terms } : null;
    if (!terms) this.state.cluster = null;
    this.#paint();
    this.#describeSelection();
    if (rows.length) this.showTab("selection");
  }

  #describeSelection() {
    const { data, part } = this, { selection } = this.state;
    if (!selection) {
      part.selection.replaceChildren(element("p", { class: "quiet" }, "Draw a lasso around points (button, or shift and drag), or pick a cluster, to list its members."));
      return;
    }
    const { rows, title, terms } = selection, column = data.column("locations"), shown = rows.slice(0, 500);
    const table = element("table", {}, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Name"), element("th", { scope: "col" }, "Locations"))),
      element("tbody", {}, ...shown.map((row) => element("tr", {},
        element("th", { scope: "row" }, element("button", { type: "button", class: "plain", onclick: () => this.open(row) }, data.names[row])),
        element("td", {}, data.namesOf(column, row).join(", ") || "–")))));
    part.selection.replaceChildren(...[
      element("h3", {}, title), element("p", {}, `${rows.length.toLocaleString("en")} ${data.unit}${rows.length === 1 ? "" : "s"} `,
        element("button", { type: "button", onclick: () => this.#saveSelection(rows) }, "Save as CSV"), " ",
        element("button", { type: "button", onclick: () => this.select([], "") }, "Clear")),
      terms && termsOf(terms), element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Selected members" }, table),
      rows.length > shown.length ? element("p", { class: "quiet" }, `The first ${shown.length} are shown; the CSV has all.`) : null].filter(Boolean));
  }

  #saveSelection(rows) {
    const { data } = this, head = [data.unit, ...data.columns.map(({ name }) => name), ...data.levels.map(({ level }) => `level_${level}`)];
    const lines = rows.map((row) => [data.names[row], ...data.columns.map((column) => data.namesOf(column, row).join(";")),
      ...data.levels.map((_, number) => data.clusterOf(number, row)?.cluster ?? "")]);
    save(`${data.dataset}_${data.model}_selection.csv`, "text/csv", [head, ...lines].map((line) => line.map(csvField).join(",")).join("\n") + "\n");
  }

  open(row, { address = true, focus = true } = {}) {
    if (row < 0 || row >= this.data.names.length) return;
    this.state.unit = row;
    this.part.unitPage.replaceChildren(...unitPage(this.data, row, {
      onUnit: (other) => this.open(other),
      onCluster: (level, number) => this.pickCluster(level, number),
      onClose: () => this.close(),
    }));
    if (!this.inCells) this.plot.setFocus(row);
    this.#paint();
    this.showTab("unit");
    this.part.live.textContent = `${this.data.names[row]} is open`;
    if (focus) this.part.unitPage.querySelector("h3").focus({ preventScroll: window.innerWidth > 900 });
    if (address) history.replaceState(null, "", `#map&map=${this.state.map}&unit=${encodeURIComponent(this.data.names[row])}`);
  }

  close() {
    this.state.unit = -1;
    this.plot.setFocus(-1);
    this.part.unitPage.replaceChildren(element("p", { class: "quiet" }, `Click a point, or search, to open the page of a ${this.data.unit}.`));
    this.#paint();
    history.replaceState(null, "", `#map&map=${this.state.map}`);
    this.part.canvas.focus();
  }

  #fromAddress() {
    const { target, options } = readAddress();
    if (target !== "map") return;
    const map = Number(options.get("map") || 0);
    if (map !== this.state.map && this.maps[map]) this.showMap(map);
    const row = this.data.names.indexOf(options.get("unit"));
    if (row >= 0) this.open(row, { address: false });
  }

  #tip(point, event) {
    const { tip, canvas } = this.part;
    canvas.classList.toggle("over", point >= 0);
    if (point < 0) {
      tip.hidden = true;
      return;
    }
    if (this.tipped !== point || tip.hidden) {
      const { data } = this, line = this.inCells ? data.cells.columns.find(({ name }) => name === "cell_line") : null;
      const about = this.inCells ? [line ? ` (${data.namesOf(line, point).join("")})` : ""][0] : "";
      tip.replaceChildren(...describeTip(data, this.#rowOf(point), this.state.level, this.inCells ? about || " " : "").filter(Boolean));
    }
    this.tipped = point;
    tip.hidden = false;
    const box = canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = `${Math.max(0, Math.min(x + 16, canvas.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + 20 + tip.offsetHeight > canvas.clientHeight ? Math.max(0, y - tip.offsetHeight - 12) : y + 20}px`;
  }

  #suggest() {
    const { search, results } = this.part, rows = this.data.search(search.value);
    results.hidden = !search.value.trim();
    search.setAttribute("aria-expanded", String(!results.hidden));
    results.replaceChildren(...rows.map((row, number) => element("li", { role: "option", id: `found-${number}`, "aria-selected": "false", onpointerdown: (event) => {
      event.preventDefault();
      this.#choose(row);
    } }, element("b", {}, this.data.names[row]), ` ${this.data.namesOf(this.data.column("locations"), row).join(", ")}`)));
    if (!rows.length) results.replaceChildren(element("li", { role: "option", "aria-selected": "false", "aria-disabled": "true" }, `No ${this.data.unit} has this in its name`));
    this.found = rows;
    this.active = -1;
  }

  #choose(row) {
    this.part.results.hidden = true;
    this.part.search.setAttribute("aria-expanded", "false");
    this.part.search.value = this.data.names[row];
    this.open(row);
  }

  #searchKey(event) {
    const { results, search } = this.part;
    if (event.key === "Escape") results.hidden = true;
    if (event.key === "Enter" && this.found?.length && !results.hidden) this.#choose(this.found[Math.max(0, this.active)]);
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && this.found?.length) {
      event.preventDefault();
      this.active = (this.active + (event.key === "ArrowDown" ? 1 : this.found.length - 1)) % this.found.length;
      [...results.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === this.active)));
      search.setAttribute("aria-activedescendant", `found-${this.active}`);
    }
  }

  #canvasKey(event) {
    const { plot } = this, direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (direction) {
      const point = plot.step(...direction);
      plot.setFocus(point);
      if (point >= 0) this.part.live.textContent = `${this.data.names[this.#rowOf(point)]}, ${this.data.namesOf(this.data.column("locations"), this.#rowOf(point)).join(", ")}`;
    } else if (event.key === "Enter" && plot.focus >= 0) this.open(this.#rowOf(plot.focus));
    else if (event.key === "+" || event.key === "=") plot.zoom(1.4);
    else if (event.key === "-") plot.zoom(1 / 1.4);
    else if (event.key === "0") plot.reset();
    else if (event.key === "Escape") this.setLasso(false);
    else return;
    event.preventDefault();
  }
}

const KINDS_OF_RUNS = { seeds: "other seeds", bootstrap: "resamples", held_out: "held-out antibodies alone" };

// How far a cluster was found again in each kind of run, and in which it was not looked for.
function stabilityInWords(cluster) {
  const found = Object.entries(cluster.stability_of).map(([kind, value]) => `${KINDS_OF_RUNS[kind]} ${value.toFixed(2)}`);
  const missing = (cluster.not_measured || "").split(";").filter(Boolean).map((kind) => KINDS_OF_RUNS[kind]);
  return `Stability over ${found.join(", ")}${missing.length ? `; not measured over ${missing.join(", ")}` : ""}`
    + `${cluster.stable === undefined ? "" : cluster.stable ? ": counted as stable" : ": not counted as stable"}.`;
}

// What a cluster is rich in, as far as the run tested it.
function termsOf(cluster) {
  const parts = [];
  if (cluster.markers) parts.push(element("p", {}, "Markers: ", cluster.markers.replaceAll(";", ", ")));
  if (cluster.stability_of) parts.push(element("p", {}, stabilityInWords(cluster)));
  if (cluster.terms?.length) {
    parts.push(element("table", { class: "terms" },
      element("thead", {}, element("tr", {}, ...["Source", "Term", "Members", "Fold", "q"].map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...cluster.terms.map((term) => element("tr", {}, element("td", {}, term.source), element("th", { scope: "row" }, term.term),
        element("td", { class: "num" }, `${term.hits} of ${term.size}`), element("td", { class: "num" }, term.fold === null ? "–" : shortNumber(term.fold)),
        element("td", { class: "num" }, term.q_value === null ? "–" : shortNumber(term.q_value)))))));
  }
  return parts.length ? element("div", { class: "terms" }, ...parts) : null;
}
