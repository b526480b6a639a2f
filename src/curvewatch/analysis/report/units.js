// Spans: words, answers, replies, pairs. Find one, see its curve.
const UNIT_MEASURES = ["final_surprisal", "within_run_variability", "age_of_acquisition", "forgettability", "forgetting_events_top1", "forgetting_events_threshold"];
const UNIT_LISTS = [["final_surprisal", "Worst predicted at the end", 1, "bits"], ["final_surprisal", "Best predicted at the end", -1, "bits"], ["forgettability", "Most forgotten (bits regained)", 1, "bits"],
  ["forgetting_events_top1", "Most forgetting events", 1, "events"], ["age_of_acquisition", "Latest learned", 1, "step"], ["age_of_acquisition", "Earliest learned", -1, "step"]];

class UnitExplorer {
  constructor(data) {
    this.data = data;
    for (const element of document.querySelectorAll("[data-units]")) element.hidden = !data.units.length;
    if (!data.units.length) return;
    [this.kinds, this.search, this.order, this.results] = ["unit-kind", "unit-search", "unit-list", "unit-results"].map((id) => document.getElementById(id));
    data.units.forEach((unit, k) => this.kinds.append(make("option", `${unit.kind} (${unit.n.toLocaleString("en")})`, { value: k })));
    this.kinds.hidden = data.units.length < 2;
    UNIT_LISTS.forEach(([, title], i) => this.order.append(make("option", title, { value: i })));
    this.kinds.addEventListener("change", () => this.begin());
    this.search.addEventListener("input", () => this.find());
    this.order.addEventListener("change", () => this.find());
    for (const element of [this.search, this.results]) element.addEventListener("keydown", (event) => this.move(event));
    this.begin();
  }

  begin() {
    this.k = Number(this.kinds.value || 0);
    this.unit = this.data.units[this.k];
    const { kind, n, names, boundary } = this.unit, some = names.length < n ? ` This page holds ${names.length.toLocaleString("en")} of them: the extremes of each measure and a random sample.` : "";
    document.getElementById("about-units").textContent = `Spans of kind ${kind}${several(this.data) ? `, ${this.data.runs[0].name}` : ""}: the surprisal of one is the sum over its tokens${boundary === "corrected" ? ", with its boundaries" : ""}, its chance that of as many tokens; it is right where all of them are the model's first choice.${some}`;
    this.row = 0;
    this.find();
    this.pick(this.found[0] ?? 0);
  }

  value(name, row) {
    return this.data.arrays[`unit.measures.${this.k}`][UNIT_MEASURES.indexOf(name) * this.unit.names.length + row];
  }

  learned(row) {
    return this.unit.statuses[this.unit.status[row]] === "learned";
  }

  find() {
    const [name, , direction, unit] = UNIT_LISTS[this.order.value || 0], wanted = this.search.value.trim().toLowerCase();
    const age = name === "age_of_acquisition", usable = (i) => Number.isFinite(this.value(name, i)) && (!age || this.learned(i));
    this.found = Array.from(this.unit.names.keys()).filter((i) => (wanted ? `${this.unit.names[i]} ${this.unit.groups[i]}`.toLowerCase().includes(wanted) : usable(i)));
    const key = (i) => (usable(i) ? direction * this.value(name, i) : -Infinity);
    this.found.sort((a, b) => key(b) - key(a) || a - b);
    document.getElementById("unit-count").textContent = `${this.found.length.toLocaleString("en")} of ${this.unit.names.length.toLocaleString("en")}`;
    this.results.replaceChildren(...this.found.slice(0, PAGE).map((i) => {
      const item = make("li", undefined, { "data-row": i, "aria-selected": i === this.row }), text = make("span", undefined, { class: "text" });
      text.append(make("bdi", inWords(this.unit.names[i])));
      if (this.unit.groups[i]) text.append(make("small", ` ${this.unit.groups[i]}`));
      item.append(text, make("span", usable(i) ? readable(name, this.value(name, i)) : "–", { class: "value", title: unit }));
      item.addEventListener("click", () => this.pick(i));
      return item;
    }));
    if (!this.found.length) this.results.replaceChildren(make("li", "None found. Try another spelling.", { class: "more" }));
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], enter = event.key === "Enter" && this.found.length;
    if (!step && !enter) return;
    event.preventDefault();
    const at = this.found.indexOf(this.row), next = this.found[enter ? 0 : Math.max(0, Math.min(this.found.length - 1, at + step))];
    if (next !== undefined) this.pick(next);
    this.results.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }

  pick(row) {
    this.row = row;
    for (const item of this.results.children) item.setAttribute("aria-selected", item.dataset.row !== undefined && Number(item.dataset.row) === row);
    document.getElementById("unit-name").replaceChildren(make("mark", inWords(this.unit.names[row])));
    this.facts();
    this.draw();
  }

  facts() {
    const { unit, row } = this, body = make("tbody"), line = (title, text) => { const tr = make("tr"); tr.append(make("th", title), make("td", text)); body.append(tr); };
    const bits = (name) => { const v = number(this.value(name, row)); return v === "–" ? v : `${v} bits`; };
    const acquired = { learned: `step ${number(10 ** this.value("age_of_acquisition", row))}`, left_censored: "before the first step", never: "never", unfitted: "no fit" };
    line(`${unit.kind} #${unit.index[row]}`, `${unit.length[row]} token${unit.length[row] === 1 ? "" : "s"} of sequence ${unit.places[row]}`);
    if (unit.groups[row]) line("group", unit.groups[row]);
    line("acquired", acquired[unit.statuses[unit.status[row]]]);
    line("final surprisal", bits("final_surprisal"));
    line("within-run variability", bits("within_run_variability"));
    line("forgettability", bits("forgettability"));
    line("forgetting events, top-1", number(this.value("forgetting_events_top1", row)));
    line("forgetting events, threshold", number(this.value("forgetting_events_threshold", row)));
    const seen = unit.exposures?.[row];
    if (seen) line("trained on", seen.length ? `in ${seen.length.toLocaleString("en")}${seen.length >= 200 ? " or more" : ""} update${seen.length === 1 ? "" : "s"}, last in ${number(seen.at(-1))}` : "never");
    document.getElementById("unit-facts").replaceChildren(body);
  }

  draw() {
    if (!this.data.units.length) return;
    const { data, unit, row, k } = this, run = data.runs[0], t = run.steps.length, raw = Array.from(data.arrays[`unit.raw.${k}`].subarray(row * t, (row + 1) * t), (v) => (Number.isFinite(v) ? v : null));
    const x = along(run, after0(run, run.steps)), right = truths(data, `unit.correct.${k}`, row), at = run.steps.filter((s, i) => s > 0 && right[i]);
    const traces = x.length ? [{ x, y: after0(run, raw), mode: "lines+markers", name: "raw", line: { color: run.colour, width: 1.5 }, marker: { size: 4 }, hovertemplate: "%{y:.2f} bits<extra></extra>" }] : [];
    if (at.length) traces.push({ x: along(run, at), y: at.map(() => -0.02 * unit.chance[row]), mode: "markers", name: "all tokens first choice", marker: { symbol: "square", size: 4, color: run.colour }, hovertemplate: "all tokens first choice<extra></extra>" });
    const seen = unit.exposures?.[row] ?? [];
    if (seen.length) traces.push({ x: along(run, seen), y: seen.map(() => 0), mode: "markers", name: "its passage was trained on", marker: { symbol: "line-ns-open", size: 14, color: LABEL_HUES[1] }, hovertemplate: "trained on its passage<extra></extra>" });
    draw("plot-unit", traces, { ...chance({ chance: unit.chance[row] }), xaxis: stepAxis(data), yaxis: { title: "surprisal, bits", rangemode: "tozero" }, showlegend: true, hovermode: "closest", margin: { l: 46, r: 12, t: 30, b: 40 } });
    this.items();
  }

  items() {
    const { data, unit } = this, run = data.runs[0], figure = document.getElementById("unit-items");
    figure.hidden = !unit.items;
    if (!unit.items) return;
    const traces = Object.entries(unit.items.lines).map(([name, shares], i) => ({ x: along(run, after0(run, run.steps)), y: after0(run, shares).map((v) => (v === null ? null : 100 * v)), name: escaped(name), mode: "lines",
      line: { color: LABEL_HUES[i % LABEL_HUES.length], width: i ? 1.5 : 2.5, dash: i % 2 ? "dash" : "solid" }, hovertemplate: "%{y:.1f} %" }));
    const level = 100 * unit.items.chance;
    draw("plot-items", traces, { ...chanceLine(level, `chance ${level.toFixed(0)} %`), xaxis: stepAxis(data), yaxis: { ticksuffix: " %", range: [0, 101] }, showlegend: true, margin: { l: 46, r: 12, t: 28, b: 40 } });
  }
}
