// The map of curves: up to 100,000 points, written pixel by pixel, so that they follow the pointer.
const RAMP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"]; // viridis
const LISTED = 60, CURVES_IN_MEAN = 2000;

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const packed = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0; // as pixels lie in memory

function ramp(share) {
  const at = share * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(at)), part = at - low;
  const [a, b] = [channels(RAMP[low]), channels(RAMP[low + 1])];
  return a.map((v, k) => Math.round(v + part * (b[k] - v)));
}

class PointMap {
  constructor(data, pick) {
    for (const element of document.querySelectorAll("[data-points]")) element.hidden = !data.points;
    this.data = data;
    this.map = data.points;
    if (!this.map) return;
    this.pick = pick;
    this.canvas = document.getElementById("points");
    this.paint = this.canvas.getContext("2d");
    [this.x, this.y, this.token, this.word] = ["x", "y", "token", "word"].map((name) => data.arrays[`points.${name}`]);
    this.rows = new Map(Array.from(data.arrays.token, (token, row) => [token, row]));
    this.colours = [...this.map.numbers.map((one, k) => ({ ...one, codes: data.arrays[`points.number.${k}`] })), ...this.map.classes.map((one, k) => ({ ...one, codes: data.arrays[`points.class.${k}`] }))];
    const select = document.getElementById("points-colour");
    this.colours.forEach((one, k) => select.append(make("option", one.name, { value: k })));
    select.addEventListener("change", () => { this.recolour(); this.region(); });
    const some = this.map.n < this.map.of ? ` ${this.map.n.toLocaleString("en")} of ${this.map.of.toLocaleString("en")} tokens (a random sample, seed 0).` : "";
    document.getElementById("about-points").textContent = `Every token a point${several(data) ? `, ${this.map.run}` : ""}; tokens whose curves are alike lie close together.${some} Across: ${this.map.axes[0]}. Up: ${this.map.axes[1]}.`;
    this.canvas.setAttribute("aria-label", `Map of ${this.map.n.toLocaleString("en")} curves`);
    this.shuffled = this.order();
    this.choosing = true;
    this.chosen = null;
    this.listen();
    this.all();
    this.recolour();
    this.region();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  // In an order of no meaning, so that no colour lies on top for where it stands in the text.
  order() {
    const order = Uint32Array.from({ length: this.map.n }, (_, i) => i);
    let state = 1;
    for (let i = order.length - 1; i > 0; i--) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const j = state % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  all() {
    const room = 0.04 * 65535;
    this.view = { left: -room, bottom: -room, width: 65535 + 2 * room, height: 65535 + 2 * room };
    this.draw();
  }

  get colouring() {
    return this.colours[document.getElementById("points-colour").value || 0];
  }

  recolour() {
    if (!this.map) return;
    const one = this.colouring, none = packed(channels(colour("line"))), legend = document.getElementById("points-legend");
    const table = new Uint32Array(256).fill(none);
    if (one.values) {
      one.values.forEach((_, v) => { table[v] = packed(channels(LABEL_HUES[v % LABEL_HUES.length])); });
      const counts = one.values.map((_, v) => one.codes.reduce((sum, code) => sum + (code === v), 0));
      legend.replaceChildren(...one.values.flatMap((value, v) => {
        if (!counts[v]) return [];
        const entry = make("span", `${value} (${counts[v].toLocaleString("en")})`);
        entry.prepend(make("i", "", { style: `background:${LABEL_HUES[v % LABEL_HUES.length]}` }));
        return [entry];
      }));
    } else {
      for (let v = 0; v < this.map.levels; v++) table[v] = packed(ramp(v / (this.map.levels - 1)));
      const scale = make("span", "", { class: "scale", style: `background:linear-gradient(to right, ${RAMP.join(",")})` });
      const show = (v) => this.told(one, v);
      legend.replaceChildren(make("span", `≤ ${show(one.low)}`), scale, make("span", `≥ ${show(one.high)}`), ...(one.codes.some((code) => code >= this.map.levels) ? [make("span", "grey: no value")] : []));
    }
    this.colourOf = Uint32Array.from(one.codes, (code) => table[code]);
    this.draw();
  }

  draw() {
    if (!this.map || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.render(); });
  }

  render() {
    const density = Math.min(2, devicePixelRatio || 1), box = this.canvas.getBoundingClientRect();
    const w = Math.max(1, Math.round(box.width * density)), h = Math.max(1, Math.round(box.height * density));
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    if (!this.colourOf) return;
    const image = this.paint.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    const { left, bottom, width, height } = this.view, sx = w / width, sy = h / height;
    // Dots as large as leaves some of the ground free where all are in view, and larger close by.
    const closer = Math.sqrt((65535 * 65535) / (width * height)), size = Math.sqrt((0.12 * w * h) / Math.PI / this.map.n) * Math.max(1, Math.sqrt(closer));
    const radius = Math.max(density, Math.min(4.5 * density, size)), r = Math.ceil(radius), dots = [];
    for (let dy = -r; dy <= r; dy++) for (let dx = -r; dx <= r; dx++) if (dx * dx + dy * dy <= radius * radius) dots.push([dx, dy]);
    const faint = this.chosen ? packed(channels(colour("grid"))) : 0;
    const put = (i, hue) => {
      const px = Math.round((this.x[i] - left) * sx), py = Math.round(h - (this.y[i] - bottom) * sy);
      if (px < -r || py < -r || px >= w + r || py >= h + r) return;
      for (const [dx, dy] of dots) {
        const qx = px + dx, qy = py + dy;
        if (qx >= 0 && qy >= 0 && qx < w && qy < h) pixels[qy * w + qx] = hue;
      }
    };
    if (!this.chosen) for (const i of this.shuffled) put(i, this.colourOf[i]);
    else {
      for (const i of this.shuffled) if (!this.chosen.has(i)) put(i, faint);
      for (const i of this.chosen) put(i, this.colourOf[i]);
    }
    this.paint.putImageData(image, 0, 0);
    this.drawn = (this.drawn ?? 0) + 1;
  }

  // A place of the canvas, in CSS pixels, as one of the map.
  at(px, py) {
    const { left, bottom, width, height } = this.view;
    return [left + (px / this.canvas.clientWidth) * width, bottom + (1 - py / this.canvas.clientHeight) * height];
  }

  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const [x, y] = this.at(px, py), by = Math.max(0.02, Math.min(1.6, (factor * this.view.width) / 65535)) * 65535 / this.view.width;
    this.view.left = x - by * (x - this.view.left);
    this.view.bottom = y - by * (y - this.view.bottom);
    this.view.width *= by;
    this.view.height *= by;
    this.draw();
  }

  shift(dx, dy) {
    this.view.left -= (dx / this.canvas.clientWidth) * this.view.width;
    this.view.bottom += (dy / this.canvas.clientHeight) * this.view.height;
    this.draw();
  }

  nearest(px, py, reach = 8) {
    const { left, bottom, width, height } = this.view, sx = this.canvas.clientWidth / width, sy = this.canvas.clientHeight / height;
    const X = left + px / sx, Y = bottom + (this.canvas.clientHeight - py) / sy;
    let best = -1, least = reach * reach;
    for (let i = 0; i < this.map.n; i++) {
      const dx = (this.x[i] - X) * sx, dy = (this.y[i] - Y) * sy, far = dx * dx + dy * dy;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  between([x0, y0], [x1, y1]) {
    const [left, right, low, high] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)], found = [];
    for (let i = 0; i < this.map.n; i++) if (this.x[i] >= left && this.x[i] <= right && this.y[i] >= low && this.y[i] <= high) found.push(i);
    return found;
  }

  choose(points) {
    this.chosen = points.length ? new Set(points) : null;
    this.draw();
    this.region();
  }

  listen() {
    const canvas = this.canvas, fingers = new Map(), box = document.getElementById("points-box"), tip = document.getElementById("points-tip");
    const place = (event) => { const { left, top } = canvas.getBoundingClientRect(); return [event.clientX - left, event.clientY - top]; };
    let start = null, two = null;
    const buttons = { choose: document.getElementById("points-choose"), move: document.getElementById("points-move") };
    const mode = (choosing) => {
      this.choosing = choosing;
      buttons.choose.setAttribute("aria-pressed", choosing);
      buttons.move.setAttribute("aria-pressed", !choosing);
      canvas.classList.toggle("moving", !choosing);
    };
    buttons.choose.addEventListener("click", () => mode(true));
    buttons.move.addEventListener("click", () => mode(false));
    document.getElementById("points-in").addEventListener("click", () => this.zoom(1 / 1.6));
    document.getElementById("points-out").addEventListener("click", () => this.zoom(1.6));
    document.getElementById("points-all").addEventListener("click", () => { this.all(); this.choose([]); });
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      this.zoom(Math.exp(0.0015 * event.deltaY), ...place(event));
    }, { passive: false });
    const spread = () => { const [[ax, ay], [bx, by]] = [...fingers.values()]; return [Math.hypot(ax - bx, ay - by), (ax + bx) / 2, (ay + by) / 2]; };
    const hide = () => { box.hidden = true; };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, place(event));
      start = fingers.size === 1 ? place(event) : null;
      if (fingers.size === 2) { two = spread(); hide(); }
    });
    canvas.addEventListener("pointermove", (event) => {
      const [px, py] = place(event), before = fingers.get(event.pointerId);
      if (!before) {
        const i = this.nearest(px, py);
        tip.hidden = i < 0;
        if (i >= 0) {
          tip.textContent = this.name(i);
          Object.assign(tip.style, { left: `${Math.min(px + 12, canvas.clientWidth - tip.offsetWidth - 4)}px`, top: `${Math.max(2, py - 30)}px` });
        }
        return;
      }
      fingers.set(event.pointerId, [px, py]);
      tip.hidden = true;
      if (fingers.size === 2) {
        const now = spread();
        this.shift(now[1] - two[1], now[2] - two[2]);
        this.zoom(two[0] / Math.max(now[0], 1), now[1], now[2]);
        two = now;
      } else if (!this.choosing) this.shift(px - before[0], py - before[1]);
      else if (start) {
        box.hidden = false;
        Object.assign(box.style, { left: `${Math.min(px, start[0])}px`, top: `${Math.min(py, start[1])}px`, width: `${Math.abs(px - start[0])}px`, height: `${Math.abs(py - start[1])}px` });
      }
    });
    const end = (event) => {
      const last = fingers.get(event.pointerId);
      fingers.delete(event.pointerId);
      hide();
      if (!start || !last || event.type === "pointercancel") return;
      const [px, py] = place(event), far = Math.hypot(px - start[0], py - start[1]);
      if (far < 4) { const i = this.nearest(px, py); this.choose(i < 0 ? [] : [i]); }
      else if (this.choosing) this.choose(this.between(this.at(...start), this.at(px, py)));
      start = null;
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    const keys = { ArrowLeft: () => this.shift(40, 0), ArrowRight: () => this.shift(-40, 0), ArrowUp: () => this.shift(0, 40), ArrowDown: () => this.shift(0, -40),
      "+": () => this.zoom(1 / 1.3), "=": () => this.zoom(1 / 1.3), "-": () => this.zoom(1.3), 0: () => this.all(), Escape: () => this.choose([]),
      Enter: () => this.choose(this.between(this.at(0, 0), this.at(canvas.clientWidth, canvas.clientHeight))) };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  text(i) {
    return this.map.words ? inWords(this.map.words[this.word[i]]) : `⟨${this.token[i]}⟩`;
  }

  name(i) {
    const row = this.rows.get(this.token[i]), before = row === undefined ? "" : `…${this.data.contexts[row].replace(/\s+/g, " ").slice(-40)}`;
    return `${before}⟦${this.text(i)}⟧ ${this.shown(i)}`;
  }

  // Its value of what it is coloured by.
  shown(i) {
    const one = this.colouring, code = one.codes[i];
    if (code >= this.map.levels) return "–";
    if (one.values) return one.values[code];
    return this.told(one, this.value(one, code));
  }

  value(one, code) {
    return one.low + (code / (this.map.levels - 1)) * (one.high - one.low);
  }

  told(one, value) {
    return one.log ? `step ${number(10 ** value)}` : `${number(value)} ${one.unit}`.trim();
  }

  // What lies in the region: how many, what they are, their mean curve, and one by one.
  region() {
    if (!this.map) return;
    const points = this.chosen ? [...this.chosen] : Array.from(this.x.keys()), title = document.getElementById("region-title");
    const count = `${points.length.toLocaleString("en")} token${points.length === 1 ? "" : "s"}`;
    title.textContent = this.chosen ? `${count} chosen` : "No region chosen: all tokens";
    document.getElementById("region-words").textContent = this.about(points);
    this.meanCurve(points);
    const list = document.getElementById("region-list");
    if (!this.chosen) { list.replaceChildren(); return; }
    const known = points.filter((i) => this.rows.has(this.token[i])), rest = points.filter((i) => !this.rows.has(this.token[i]));
    const items = [...known, ...rest].slice(0, LISTED).map((i) => {
      const item = make("li"), row = this.rows.get(this.token[i]), text = make("span", undefined, { class: "text" }), inner = make("bdi");
      if (row !== undefined) inner.append(this.data.contexts[row].replace(/\s+/g, " ").slice(-60));
      inner.append(make("mark", this.text(i)));
      text.append(inner);
      item.append(text, make("span", this.shown(i), { class: "value" }));
      if (row === undefined) { item.title = `token #${this.token[i]}: not on this page`; return item; }
      const button = make("button", undefined, { type: "button", title: `token #${this.token[i]}` });
      button.append(...item.childNodes);
      button.style.display = "flex";
      button.style.gap = ".6rem";
      button.addEventListener("click", () => this.pick(row, true));
      item.append(button);
      return item;
    });
    if (points.length > LISTED) items.push(make("li", `${(points.length - LISTED).toLocaleString("en")} more`, { class: "more" }));
    list.replaceChildren(...items);
    list.scrollTop = 0;
  }

  about(points) {
    const one = this.colouring, said = [];
    if (this.map.words && points.length > 1) {
      const counts = new Map();
      for (const i of points) counts.set(this.word[i], (counts.get(this.word[i]) ?? 0) + 1);
      const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8);
      said.push(`Most common: ${most.map(([w, n]) => `“${inWords(this.map.words[w])}” × ${n.toLocaleString("en")}`).join(", ")}.`);
    }
    const codes = points.map((i) => one.codes[i]).filter((code) => code < this.map.levels);
    if (!codes.length) return [...said, `${one.name}: no value.`].join(" ");
    if (one.values) {
      const share = (of, v) => of.reduce((sum, code) => sum + (code === v), 0) / of.length, every = Array.from(one.codes).filter((code) => code < this.map.levels);
      const parts = one.values.map((value, v) => [value, share(codes, v), share(every, v)]).sort((a, b) => b[1] - a[1]).filter(([, here]) => here > 0).slice(0, 4);
      said.push(`${one.name}: ${parts.map(([value, here, all]) => `${value} ${(100 * here).toFixed(0)} %` + (this.chosen ? ` (of all ${(100 * all).toFixed(0)} %)` : "")).join(", ")}.`);
    } else {
      const middle = codes.sort((a, b) => a - b)[codes.length >> 1];
      said.push(`Median ${one.name}: ${this.told(one, this.value(one, middle))}.`);
    }
    return said.join(" ");
  }

  meanCurve(points) {
    const data = this.data, run = data.runs[0], x = Array.from(data.arrays["smooth_x.0"]);
    const mean = (rows) => {
      const chosen = rows.slice(0, CURVES_IN_MEAN), total = new Float64Array(x.length), n = new Float64Array(x.length);
      for (const row of chosen) curve(data, "smooth.0", row).forEach((v, t) => { if (v !== null) { total[t] += v; n[t] += 1; } });
      return Array.from(total, (sum, t) => (n[t] ? sum / n[t] : null));
    };
    this.every ??= mean(Array.from(data.targets.keys()));
    const rows = points.map((i) => this.rows.get(this.token[i])).filter((row) => row !== undefined);
    const traces = [{ x: along(run, x), y: this.every, mode: "lines", name: "all", line: { color: colour("faint"), width: 1.5, dash: "dot" }, hovertemplate: "%{y:.2f} bits" }];
    if (this.chosen && rows.length) traces.push({ x: along(run, x), y: mean(rows), mode: "lines", name: `mean of ${Math.min(rows.length, CURVES_IN_MEAN).toLocaleString("en")}`, line: { color: run.colour, width: 2.5 }, hovertemplate: "%{y:.2f} bits" });
    draw("plot-region", x.length ? traces : [], { ...chance(data), xaxis: { ...stepAxis(data), title: "" }, yaxis: { title: "bits", rangemode: "tozero" }, showlegend: true, margin: { l: 42, r: 10, t: 26, b: 26 } });
  }
}
