// Puts the page together.
function tile(value, label) {
  const element = make("div", undefined, { class: "tile" });
  if (Array.isArray(value)) value.forEach(([hue, text]) => { const line = make("div", text); line.prepend(make("i", "", { style: `background:${hue}` })); element.append(line); });
  else element.append(make("b", value));
  element.append(make("span", label));
  return element;
}

function tiles(data) {
  const each = (format) => (several(data) ? data.runs.map((run) => [run.colour, format(run)]) : format(data.runs[0]));
  const last = (values) => values.at(-1) ?? NaN, percent = (v) => (v === null || !Number.isFinite(v) ? "–" : `${(100 * v).toFixed(1)} %`);
  const share = (run, name) => run.status[data.statuses.indexOf(name)] / data.n_tokens;
  document.getElementById("figures").replaceChildren(
    tile(data.n_tokens.toLocaleString("en"), "tokens watched"),
    tile(each((run) => `${number(last(run.mean))} bits`), "mean surprisal now"),
    ...(data.runs.every((run) => run.bytes_each) ? [tile(each((run) => number(last(run.mean) / run.bytes_each)), "bits per byte now")] : []),
    tile(each((run) => percent(last(run.accuracy))), "first choice now"),
    tile(each((run) => (share(run, "unfitted") === 1 ? "–" : percent(share(run, "learned") + share(run, "left_censored")))), "acquired"),
    tile(each((run) => (run.age_median === null ? "–" : `step ${number(10 ** run.age_median)}`)), "median age of acquisition"),
    tile(each((run) => percent(run.forgotten_share)), "forgotten at least once (top-1)"),
  );
}

function words(data) {
  const run = data.runs[0], n = data.targets.length.toLocaleString("en"), all = data.n_tokens.toLocaleString("en");
  const say = (id, text) => { document.getElementById(id).textContent = text; };
  say("title", data.title);
  const observations = data.runs.map((r) => r.observations.toLocaleString("en")).filter((v, i, a) => a.indexOf(v) === i).join(", ");
  say("subtitle", `${several(data) ? `${data.runs.length} runs, ` : ""}${observations} observations of ${all} tokens in ${run.n_sequences.toLocaleString("en")} sequences. Chance is ${data.chance.toFixed(2)} bits.`);
  say("about-surprisal", several(data) ? "Mean over all tokens, one line a run." : "Mean and median over all tokens, and where half and nine tenths of them lie.");
  say("about-tokens", data.complete ? `Search any of the ${all} tokens, or go through a list. The curve shows every observation and the smoothed curve that the measures come from.`
    : `This page holds ${n} of the ${all} tokens: the extremes of each measure and a random sample (seed 0). All other charts are of all tokens. Any other token: curvewatch show ${run.file} TOKEN`);
  say("about-map", `Probability of each token over the last quarter of training${several(data) ? `, ${run.name}` : ""}: how high it is and how much it moves. Click a dot to see its curve.`);
  if (several(data)) document.getElementById("about-correlation").textContent += " Mean over runs.";
  const notes = data.runs.flatMap((r) => r.notes.map((note) => (several(data) ? `${r.name}: ${note}` : note)));
  if (data.runs.some((r) => r.thinned)) notes.push("The page shows some of the scored steps only, chosen evenly; the measures rest on all of them.");
  document.getElementById("notes").replaceChildren(...[...notes, ...data.remarks, ...(data.cross?.notes ?? [])].map((text) => make("div", text, { class: "note" })));
  say("foot", `Made ${data.made.replace("T", " ")} by curvewatch. Measures after Chang, Tu & Bergen (2024), “Characterizing Learning Curves During Language Model Pre-Training”, TACL. Charts: Plotly.js (MIT). This page asks nothing of any network.`);
}

function crossTable(data) {
  for (const element of document.querySelectorAll("[data-cross]")) element.hidden = !data.cross;
  if (!data.cross) return;
  const pairs = (data.runs.length * (data.runs.length - 1)) / 2, mean = number(data.cross.mean), median = number(data.cross.median);
  document.getElementById("about-cross").textContent = `${data.runs.length} runs, ${pairs} pair${pairs > 1 ? "s" : ""}. Cross-run variability: mean ${mean}, median ${median} bits².`;
  const head = make("tr"), body = make("tbody"), top = make("thead");
  ["measure", pairs > 1 ? "mean r" : "r", "lowest", "highest", "tokens"].forEach((text) => head.append(make("th", text)));
  top.append(head);
  data.cross.rows.forEach(([name, ...values]) => {
    const tr = make("tr");
    tr.append(make("th", name.replaceAll("_", " ")));
    values.forEach((v, i) => tr.append(make("td", v === null ? "–" : i === 3 ? v.toLocaleString("en") : v.toFixed(3).replace("-", "−"))));
    body.append(tr);
  });
  document.getElementById("cross-table").replaceChildren(top, body);
}

function provenance(data) {
  const table = document.getElementById("provenance"), body = make("tbody");
  const row = (title, value) => { const tr = make("tr"); tr.append(make("th", title)); data.runs.forEach((run) => tr.append(make("td", value(run), { class: "say" }))); body.append(tr); };
  if (several(data)) row("run", (run) => run.name);
  row("scoring", (run) => `${number(run.seconds)} s in all, ${number(run.seconds_each)} s an observation` + (run.wall > 0 ? `, ${((100 * run.seconds) / run.wall).toFixed(1)} % of the time from first to last` : ""));
  row("file", (run) => `${run.file}, ${number(run.bytes / 1e6)} MB, run ${run.run_id}`);
  row("steps", (run) => (run.steps.length ? `${number(run.steps[0])} to ${number(run.steps.at(-1))}` : "none") + (run.max_steps ? ` of ${number(run.max_steps)} planned` : "") + `; ${run.schedule}; ${run.window_rows} in the last quarter`);
  row("model", (run) => [run.model, run.parameters ? `${number(run.parameters)} parameters` : null, run.dtype].filter(Boolean).join(", ") || "–");
  row("trained by", (run) => `${run.host ?? "–"}, ${run.sessions} session${run.sessions === 1 ? "" : "s"}`);
  row("versions", (run) => Object.entries(run.versions).map((pair) => pair.join(" ")).join(", ") || "–");
  row("token set", (run) => `${run.set_name}, ${run.set_hash}`);
  table.replaceChildren(body);
}

// Lets the browser show what is there before the next piece of work.
const shown = () => new Promise((resolve) => setTimeout(resolve));

async function start() {
  const begun = performance.now();
  document.documentElement.dataset.theme = system.matches ? "dark" : "light";
  const data = unpack(await inflated("data"));
  words(data);
  tiles(data);
  crossTable(data);
  provenance(data);
  labelFrames(data);
  costTable(data);
  offerAxis(data);
  predictedTables(data);
  await shown();
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await inflated("library"));
  document.head.append(script);
  surprisalChart(data);
  costChart(data);
  await shown();
  overviewCharts(data);
  await shown();
  const explorer = new Explorer(data);
  const pick = (row, scroll) => explorer.pick(row, scroll);
  gallery(data, pick);
  eventList(data, pick);
  await shown();
  structureCharts(data, pick);
  labelCharts(data);
  const units = new UnitExplorer(data);
  const points = new PointMap(data, pick);
  humpChart(data);
  crossCharts(data);
  redraw.push(() => { surprisalChart(data); costChart(data); overviewCharts(data); explorer.draw(); structureCharts(data, pick); labelCharts(data); units.draw(); points.recolour(); points.region(); humpChart(data); crossCharts(data); });
  document.documentElement.dataset.ready = Math.round(performance.now() - begun);
}

start().catch((error) => {
  const place = document.getElementById("trouble");
  place.textContent = typeof DecompressionStream === "undefined" ? "This browser is too old for this page (it can't unpack data). Any browser since 2023 can." : `The page could not be drawn: ${error.message}`;
  place.hidden = false;
  console.error(error);
});
