"use strict";

// Examples: each element of the list is shown if it passes every filter.
const list = document.getElementById("list");
const form = document.getElementById("filter");
const items = list ? [...list.children] : [];
const fold = (text) => text.normalize("NFKC").toLowerCase();
const texts = new Map(items.map((item) => [item, fold(item.textContent)]));
const chosen = (name) => document.getElementById(name)?.value ?? "";
const places = new Map(items.map((item, i) => [item, i]));
const orders = {
  input: (a, b) => places.get(a) - places.get(b),
  sure: (a, b) => b.dataset.sure - a.dataset.sure,
  unsure: (a, b) => a.dataset.sure - b.dataset.sure,
};

function passes(item) {
  const has = (name) => !chosen(name) || item.dataset[name].split(" ").includes(chosen(name));
  return has("right") && has("gold") && has("predicted") && texts.get(item).includes(fold(chosen("query")));
}

function filter() {
  for (const item of items) item.hidden = !passes(item);
  const count = items.filter((item) => !item.hidden).length;
  document.getElementById("count").textContent = `${count.toLocaleString("en")} example${count === 1 ? "" : "s"}`;
}

if (form) {
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const event of ["input", "change"]) form.addEventListener(event, filter);
  form.addEventListener("reset", () => setTimeout(() => { sort(); filter(); }));
  document.getElementById("order").addEventListener("change", sort);
  sort(); // a browser that goes back keeps what was chosen
  filter();
}

function sort() {
  list.append(...[...items].sort(orders[chosen("order")]));
}

// A count of the confusion matrix shows the examples that it counts.
for (const button of document.querySelectorAll("td button")) {
  button.addEventListener("click", () => {
    form.reset();
    for (const name of ["gold", "predicted"]) document.getElementById(name).value = button.dataset[name];
    document.getElementById("examples").focus();
  });
}

// Charts: uPlot draws them in the colours of the style sheet, anew when those change.
const charts = JSON.parse(document.getElementById("charts").textContent);
const HEIGHT = 240;

function options(chart, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const font = "12px system-ui, sans-serif";
  const axis = { values: (plot, splits) => splits.map(short), stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font };
  const styles = {
    line: { points: { show: false } },
    dots: { points: { show: true, size: 7 } },
    dash: { points: { show: false }, dash: [6, 4], width: 1 },
    bars: { points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 14, 4] }), width: 0 },
  };
  const series = chart.lines.map((line, i) => {
    const stroke = colour(line.style === "dash" ? "--dim" : `--series-${i % 4}`);
    const fill = line.style === "bars" ? `${stroke}66` : undefined;
    return { label: line.label, stroke, fill, width: 2, spanGaps: true, value: shown, ...styles[line.style] };
  });
  const y = chart.y_range ? { range: chart.y_range } : {};
  return {
    width, height: HEIGHT, series: [{ label: chart.x, value: shown }, ...series],
    axes: [{ ...axis, size: 30, label: chart.x, labelSize: 20, labelFont: font }, { ...axis, size: 56 }],
    scales: { x: { time: false, range: padded }, y }, cursor: { drag: { x: true, y: false } },
  };
}

const padded = (plot, low, high) => [low - (high - low) / 40, high + (high - low) / 40];
// A learning rate of 2e-5 is not 0.
const short = (value) => Math.abs(value) < 1e-3 && value ? Number(value.toPrecision(3)).toExponential()
  : value?.toLocaleString("en", { maximumSignificantDigits: 6 });
const shown = (plot, value) => String(value ?? "");

function draw(box) {
  const chart = charts[box.dataset.chart];
  box.replaceChildren();
  const data = [chart.xs, ...chart.lines.map((line) => line.values)];
  const plot = new uPlot(options(chart, box.clientWidth), data, box);
  box.onkeydown = (event) => walk(event, plot, chart.xs.length);
  return plot;
}

function walk(event, plot, count) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const index = Math.min(count - 1, Math.max(0, (plot.cursor.idx ?? (by > 0 ? -1 : count)) + by));
  plot.setCursor({ left: plot.valToPos(plot.data[0][index], "x"), top: 0 });
}

const plots = new Map();
const redraw = () => { for (const box of document.querySelectorAll(".chart")) plots.set(box, draw(box)); };
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = plots.get(target);
    if (plot && plot.width !== target.clientWidth) plot.setSize({ width: target.clientWidth, height: HEIGHT });
  }
});
redraw();
for (const box of document.querySelectorAll(".chart")) resized.observe(box);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
