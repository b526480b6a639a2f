// The extremes at a glance: a small drawing of each curve, its context, and the value that brought it here.
const GALLERY = [
  ["forgettability", "Most forgotten", "bits regained", (v) => number(v)],
  ["age_of_acquisition", "Latest learned", "at step", (v) => number(10 ** v)],
  ["cross_run_variability", "Most different between runs", "bits²", (v) => number(v)],
  ["within_run_variability", "Most variable at the end", "bits", (v) => number(v)],
];
const ROWS = 6, WIDTH = 150, HEIGHT = 44;

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function sparkline(data, row) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const raws = data.runs.map((_, r) => curve(data, `raw.${r}`, row));
  const steps = data.runs.flatMap((run) => run.steps.filter((s) => s > 0));
  const left = Math.log10(Math.min(...steps)), right = Math.log10(Math.max(...steps));
  const top = Math.max(data.chance * 1.05, ...raws.flat().filter((v) => v !== null));
  const x = (s) => (2 + ((WIDTH - 4) * (Math.log10(s) - left)) / Math.max(right - left, 1e-9)).toFixed(1);
  const y = (v) => (2 + (HEIGHT - 4) * (1 - Math.max(v, 0) / top)).toFixed(1);
  picture.append(svg("line", { x1: 0, x2: WIDTH, y1: y(data.chance), y2: y(data.chance), class: "chance" }));
  data.runs.forEach((run, r) => {
    const path = (xs, ys) => xs.map((s, i) => (s > 0 && ys[i] !== null ? `${x(s)} ${y(ys[i])}` : null)).filter(Boolean);
    const raw = path(run.steps, raws[r]), smooth = path(Array.from(data.arrays[`smooth_x.${r}`]), curve(data, `smooth.${r}`, row));
    if (raw.length) picture.append(svg("path", { d: `M${raw.join("L")}`, stroke: run.colour, class: "raw" }));
    if (smooth.length) picture.append(svg("path", { d: `M${smooth.join("L")}`, stroke: run.colour, class: "smooth" }));
  });
  return picture;
}

function gallery(data, pickToken) {
  const place = document.getElementById("gallery");
  const lists = GALLERY.filter(([name]) => data.arrays[`rank.${name}`]?.some(Number.isFinite)).slice(0, 3);
  place.replaceChildren(...lists.map(([name, title, unit, format]) => {
    const values = data.arrays[`rank.${name}`], card = make("div", undefined, { class: "card list" });
    const rows = Array.from(values.keys()).filter((i) => Number.isFinite(values[i])).sort((a, b) => values[b] - values[a]).slice(0, ROWS);
    const heading = make("h2", title);
    heading.append(make("small", unit));
    card.append(heading);
    rows.forEach((i) => {
      const item = make("button", undefined, { type: "button", class: "row", title: "See its curve" }), text = make("span", undefined, { class: "text" });
      const inner = make("bdi", data.contexts[i].replace(/\s+/g, " ").slice(-60));
      inner.append(make("mark", inWords(data.targets[i])));
      text.append(inner);
      item.append(sparkline(data, i), text, make("span", format(values[i]), { class: "value" }));
      item.addEventListener("click", () => pickToken(i, true));
      card.append(item);
    });
    return card;
  }));
}
