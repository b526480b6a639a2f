// Find a token, see its curve.
const LISTS = [
  ["forgettability", "Most forgotten (bits regained)", 1, "bits"],
  ["forgetting_events_top1", "Most forgetting events", 1, "events"],
  ["age_of_acquisition", "Latest learned", 1, "step"],
  ["age_of_acquisition", "Earliest learned", -1, "step"],
  ["within_run_variability", "Most variable at the end", 1, "bits"],
  ["cross_run_variability", "Most different between runs", 1, "bits²"],
  ["final_surprisal", "Worst predicted at the end", 1, "bits"],
  ["final_surprisal", "Best predicted at the end", -1, "bits"],
  ["never", "Never acquired", 1, "bits"],
  ["token", "In the order of the text", -1, ""],
];
const PAGE = 120;

function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1000 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toPrecision(digits);
}

function readable(name, value) {
  return name === "age_of_acquisition" ? number(10 ** value) : number(value);
}

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function inWords(target) {
  return target.trim() ? target : JSON.stringify(target).slice(1, -1) || "␣";
}

class Explorer {
  constructor(data) {
    this.data = data;
    this.lower = data.targets.map((target) => target.toLowerCase());
    this.contexts = data.contexts.map((context) => context.toLowerCase());
    this.search = document.getElementById("search");
    this.select = document.getElementById("list");
    this.results = document.getElementById("results");
    LISTS.forEach(([name, title], i) => { if (this.values(name)) this.select.append(make("option", title, { value: i })); });
    this.search.addEventListener("input", () => this.find());
    this.select.addEventListener("change", () => this.find());
    this.results.addEventListener("keydown", (event) => this.move(event));
    this.search.addEventListener("keydown", (event) => this.move(event));
    this.find();
    const asked = /^#token=(\d+)$/.exec(location.hash), row = asked ? data.arrays.token.indexOf(Number(asked[1])) : -1;
    this.pick(row >= 0 ? row : this.found[0] ?? 0, false);
  }

  values(name) {
    const data = this.data, n = data.targets.length;
    if (name === "token") return data.arrays.token;
    if (name === "never") {
      const never = data.statuses.indexOf("never"), final = data.arrays["rank.final_surprisal"];
      const kept = Float32Array.from({ length: n }, (_, i) => (data.runs.every((_, r) => data.arrays[`status.${r}`][i] === never) ? final[i] : NaN));
      return kept.some(Number.isFinite) ? kept : null;
    }
    const values = data.arrays[`rank.${name}`];
    return values && values.some(Number.isFinite) ? values : null;
  }

  find() {
    const data = this.data, [name, , direction] = LISTS[this.select.value || LISTS.length - 1];
    const values = this.values(name), words = this.search.value.toLowerCase(), trimmed = words.trim();
    const index = /^#(\d+)$/.exec(trimmed);
    let rows = Array.from(data.targets.keys());
    if (index) rows = rows.filter((i) => data.arrays.token[i] === Number(index[1]));
    else if (trimmed) {
      const score = (i) => (this.lower[i].trim() === trimmed ? 3 : this.lower[i].includes(trimmed) ? 2 : this.contexts[i].includes(words) || (this.contexts[i] + this.lower[i]).includes(words) ? 1 : 0);
      this.score = rows.map(score);
      rows = rows.filter((i) => this.score[i]);
    } else rows = rows.filter((i) => Number.isFinite(values[i]));
    const key = (i) => (Number.isFinite(values[i]) ? direction * values[i] : -Infinity);
    rows.sort((a, b) => (trimmed && !index ? this.score[b] - this.score[a] : 0) || key(b) - key(a) || a - b);
    this.found = rows;
    this.shown = PAGE;
    const all = data.complete ? "" : ` of the ${data.targets.length.toLocaleString("en")} on this page`;
    document.getElementById("count").textContent = trimmed ? `${rows.length.toLocaleString("en")} match${rows.length === 1 ? "es" : ""}${all}` : `${rows.length.toLocaleString("en")} tokens${all}`;
    this.list();
  }

  list() {
    const [name, , , unit] = LISTS[this.select.value || LISTS.length - 1], values = this.values(name);
    const items = this.found.slice(0, this.shown).map((i) => {
      const item = make("li", undefined, { "data-row": i, "aria-selected": i === this.row });
      const text = make("span", undefined, { class: "text" }), inner = make("bdi", this.data.contexts[i].replace(/\s+/g, " ").slice(-70));
      inner.append(make("mark", inWords(this.data.targets[i])));
      text.append(inner);
      item.append(text, make("span", unit ? readable(name, values[i]) : `#${this.data.arrays.token[i]}`, { class: "value", title: unit }));
      item.addEventListener("click", () => this.pick(i, false));
      return item;
    });
    if (this.found.length > this.shown) {
      const more = make("li", `${(this.found.length - this.shown).toLocaleString("en")} more`, { class: "more" });
      more.addEventListener("click", () => { this.shown *= 4; this.list(); });
      items.push(more);
    }
    if (!items.length) items.push(make("li", "No token found. Try another spelling, or a word before it.", { class: "more" }));
    this.results.replaceChildren(...items);
    this.results.scrollTop = 0;
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const enter = event.key === "Enter" && this.found.length;
    if (!step && !enter) return;
    event.preventDefault();
    const at = this.found.indexOf(this.row), next = this.found[enter ? 0 : Math.max(0, Math.min(this.found.length - 1, at + step))];
    if (next !== undefined) this.pick(next, false);
    this.results.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }

  pick(row, scroll) {
    this.row = row;
    for (const item of this.results.children) item.setAttribute("aria-selected", Number(item.dataset.row) === row && item.dataset.row !== undefined);
    if (this.data.targets.length === 0) return;
    const context = document.getElementById("context");
    context.replaceChildren(make("span", this.data.contexts[row]), make("mark", inWords(this.data.targets[row])), make("span", this.data.behinds[row] ?? ""));
    this.draw();
    this.facts();
    history.replaceState(null, "", `#token=${this.data.arrays.token[row]}`);
    if (scroll) document.getElementById("tokens").scrollIntoView();
  }

  draw() {
    const data = this.data, row = this.row, traces = [], many = several(data);
    const group = (r) => (many ? { legendgroup: r } : {}); // one name in the legend switches all of a run
    data.runs.forEach((run, r) => {
      const raw = curve(data, `raw.${r}`, row), x = along(run, after0(run, run.steps)), name = many ? escaped(run.name) : "raw";
      if (!x.length) return;
      traces.push({ x, y: after0(run, raw), mode: "markers", name, ...group(r), showlegend: !many, marker: { color: faded(run.colour, many ? 0.35 : 0.5), size: many ? 4 : 5 }, hovertemplate: "%{y:.2f}<extra>" + (many ? `${escaped(run.name)}, raw` : "raw") + "</extra>" });
      const smooth = curve(data, `smooth.${r}`, row);
      if (smooth.some((v) => v !== null)) traces.push({ x: along(run, Array.from(data.arrays[`smooth_x.${r}`])), y: smooth, mode: "lines", name: many ? escaped(run.name) : "smoothed", ...group(r), line: { color: run.colour, width: 2.5 }, hovertemplate: "%{y:.2f}<extra>" + (many ? escaped(run.name) : "smoothed") + "</extra>" });
      const right = truths(data, `correct.${r}`, row), at = run.steps.filter((s, t) => s > 0 && right[t]);
      if (at.length) traces.push({ x: along(run, at), y: at.map(() => -0.02 * (r + 1) * data.chance), mode: "markers", name: "first choice", ...group(r), showlegend: !many, marker: { symbol: "square", size: 4, color: run.colour }, hovertemplate: "first choice<extra></extra>" });
      if (data.arrays[`status.${r}`][row] === data.statuses.indexOf("learned")) traces.push({ x: along(run, [10 ** measure(data, r, "age_of_acquisition", row)]), y: [measure(data, r, "acquisition_threshold", row)], mode: "markers", name: "acquired", ...group(r), showlegend: !many, marker: { size: 10, color: colour("card"), line: { color: run.colour, width: 2.5 } }, hovertemplate: "acquired<extra></extra>" });
    });
    draw("plot-token", traces, { ...chance(data), xaxis: stepAxis(data), yaxis: { title: "surprisal, bits", rangemode: "tozero" }, showlegend: true, hovermode: "closest", margin: { l: 46, r: 12, t: 30, b: 40 } });
  }

  facts() {
    const data = this.data, row = this.row, table = document.getElementById("facts");
    const head = make("tr");
    head.append(make("th", `token #${data.arrays.token[row]}, sequence:position ${data.places[row]}`));
    data.runs.forEach((run) => { const cell = make("th", several(data) ? run.name : ""); if (several(data)) cell.prepend(make("span", "", { class: "dot", style: `background:${run.colour}` })); head.append(cell); });
    const line = (title, value) => { const tr = make("tr"); tr.append(make("th", title)); data.runs.forEach((_, r) => tr.append(make("td", value(r)))); return tr; };
    const at = (name, unit) => (r) => { const v = number(measure(data, r, name, row)); return v === "–" ? v : `${v}${unit}`; };
    const status = (r) => data.statuses[data.arrays[`status.${r}`][row]];
    const acquired = (r) => ({ learned: `step ${number(10 ** measure(data, r, "age_of_acquisition", row))}`, left_censored: "before the first step", never: "never", unfitted: "no fit" })[status(r)];
    const body = make("tbody");
    body.append(line("acquired", acquired), line("final surprisal", at("final_surprisal", " bits")), line("within-run variability", at("within_run_variability", " bits")),
      line("forgettability", at("forgettability", " bits")), line("forgetting events, top-1", at("forgetting_events_top1", "")), line("forgetting events, threshold", at("forgetting_events_threshold", "")),
      line("first correct at step", at("first_learned_step", "")));
    const across = data.arrays["rank.cross_run_variability"];
    if (across) { const tr = make("tr"); tr.append(make("th", "cross-run variability"), make("td", `${number(across[row])} bits²`, { colspan: data.runs.length })); body.append(tr); }
    const top = make("thead"); top.append(head);
    table.replaceChildren(top, body);
  }
}
