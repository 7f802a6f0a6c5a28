// Fetches data.json each second and shows it. Text from elsewhere is set as textContent.
"use strict";

const REFRESH_INTERVAL = 1000; // milliseconds
const ANSWER_TIMEOUT = 3000; // milliseconds
const CHART_SECONDS = 180;
const MIN_DURATION = 1e-5; // seconds: the lower end of the logarithmic charts
const GAP_SECONDS = 5; // without an answer: a gap in the charts
const WINDOW = 10; // seconds that the percentiles cover
const INTEGER_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5];

const element = (id) => document.getElementById(id);

// Each series: its key in a point, its name, the CSS variable of its colour, its dash.
const CHARTS = {
  connections: {
    series: [
      ["in_use", "in use", "--in-use", [], true],
      ["idle", "idle", "--idle", [6, 3]],
      ["waiting", "waiting", "--waiting", [], true],
      ["max_size", "max", "--max", [2, 3]],
    ],
    format: count,
    axis: { incrs: INTEGER_STEPS },
    range: (u, low, high) => [0, Math.max(2, Math.ceil((high || 0) * 1.1))],
  },
  times: {
    series: [
      ["use_p99", "held p99", "--held", []],
      ["use_p50", "held p50", "--held", [6, 3]],
      ["wait_p99", "waited p99", "--waited", []],
      ["wait_p50", "waited p50", "--waited", [6, 3]],
    ],
    format: (seconds) => (seconds > MIN_DURATION ? duration(seconds) : `≤ ${duration(MIN_DURATION)}`),
    range: (u, low, high) => [MIN_DURATION, 10 ** Math.ceil(Math.log10(Math.max(high || 0, 0.01)))],
    scale: { distr: 3 }, // logarithmic
    axis: { splits: (u, i, low, high) => powersOfTen(low, high), filter: (u, splits) => splits },
  },
  rates: {
    series: [
      ["checkouts", "checkouts", "--in-use", [], true],
      ["timeouts", "timeouts", "--waiting", [6, 3]],
    ],
    format: rate,
    axis: { incrs: INTEGER_STEPS },
    range: (u, low, high) => [0, Math.max(1, (high || 0) * 1.1)],
  },
};

// Formatting

function count(number) {
  return Math.round(number).toLocaleString("en");
}

function rate(number) {
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

function duration(seconds) {
  if (seconds >= 9999.5) return `${(seconds / 3600).toFixed(1)} h`;
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) {
    const amount = seconds / size;
    if (amount >= 0.9995) return `${amount.toFixed(amount < 9.95 && unit !== "µs" ? 1 : 0)} ${unit}`;
  }
  return "0";
}

function powersOfTen(low, high) {
  const [first, last] = [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

// The values between two gaps: they need a point, because no line leads to them.
function isolated(values) {
  const there = (i) => values[i] != null;
  return [...values.keys()].filter((i) => there(i) && !there(i - 1) && !there(i + 1));
}

// The state of a pool in one word, which is also the CSS class of its colour.
function stateOf(reading) {
  if (reading.in_use >= reading.max_size && reading.max_size > 0) {
    return reading.waiting ? "exhausted" : "full";
  }
  return reading.waiting ? "waiting" : "ok";
}

// Points of the charts

function percentile(later, earlier, share) {
  const before = new Map(earlier);
  const counts = later.map(([bound, n]) => [bound, n - (before.get(bound) || 0)]);
  const all = counts.reduce((sum, [, n]) => sum + n, 0);
  let seen = 0;
  for (const [bound, n] of counts) {
    seen += n;
    if (n > 0 && seen >= share * all) return Math.max(bound, MIN_DURATION);
  }
  return null; // no durations
}

// From the totals now, at the previous snapshot and at the start of the window, and the
// seconds since the previous snapshot.
function pointOf({ in_use, idle, waiting, max_size, ...total }, previous, first, seconds) {
  const point = { in_use, idle, waiting, max_size };
  if (!previous) return point;
  for (const [name, share] of [["p50", 0.5], ["p99", 0.99]]) {
    point[`use_${name}`] = percentile(total.use_buckets, first.use_buckets, share);
    point[`wait_${name}`] = percentile(total.wait_buckets, first.wait_buckets, share);
  }
  point.checkouts = (total.checkouts - previous.checkouts) / seconds;
  point.timeouts = (total.timeouts - previous.timeouts) / seconds;
  return point;
}

class Chart {
  constructor(figure, definition) {
    this.definition = definition;
    this.box = figure.appendChild(document.createElement("div"));
    this.box.className = "chart";
    this.box.setAttribute("aria-hidden", "true"); // the legend has the numbers
    this.values = definition.series.map(([, name, colour, dash]) => {
      const item = document.createElement("li");
      const swatch = item.appendChild(document.createElement("i"));
      swatch.className = `${colour.slice(2)} ${dash.length ? "dashed" : ""}`;
      item.append(name, " ");
      return item.appendChild(document.createElement("b"));
    });
    const legend = figure.appendChild(document.createElement("ul"));
    legend.append(...this.values.map((value) => value.parentNode));
    this.data = [[], ...definition.series.map(() => [])];
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.box);
  }

  size() {
    return { width: this.box.clientWidth, height: this.box.clientHeight };
  }

  // Called again after a change of colours, because a plot keeps its old ones.
  draw() {
    this.plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name);
    const { series, format, range, scale, axis: ticks } = this.definition;
    const line = { stroke: ink("--line"), width: 1 };
    const axis = { stroke: ink("--soft"), font: "11px system-ui", grid: line, ticks: { show: false } };
    const options = {
      ...this.size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: {
        x: { range: (u, low, high) => [high - CHART_SECONDS, high] },
        y: { range, ...scale },
      },
      axes: [
        {
          ...axis, size: 22,
          splits: (u, i, low, high) => [180, 120, 60, 0].map((seconds) => high - seconds),
          values: () => ["−3 min", "−2 min", "−1 min", "now"],
        },
        {
          ...axis, size: 54, space: 24,
          values: (u, splits) => splits.map((each) => (each === MIN_DURATION ? duration(each) : format(each))),
          ...ticks,
        },
      ],
      series: [{}, ...series.map(([, , colour, dash, filled]) => ({
        stroke: ink(colour), width: 1.5, dash,
        points: { show: true, size: 4, fill: ink(colour), filter: (u, i) => isolated(u.data[i]) },
        fill: filled ? `${ink(colour)}22` : undefined,
      }))],
      hooks: { setCursor: [(u) => this.showValues(u.cursor.idx)] },
    };
    this.plot = new uPlot(options, this.data, this.box);
  }

  add(time, point) {
    const [times, ...columns] = this.data;
    times.push(time);
    this.definition.series.forEach(([key], i) => columns[i].push(point[key] ?? null));
    const old = times.findIndex((each) => each >= time - CHART_SECONDS);
    this.data.forEach((column) => column.splice(0, old));
    if (this.plot) this.plot.setData(this.data);
    else this.draw();
    this.showValues(this.plot.cursor.idx);
  }

  // Write the values at one moment into the legend, by default the latest.
  showValues(index) {
    this.values.forEach((value, i) => {
      const number = this.data[i + 1].at(index ?? -1);
      value.textContent = number == null ? "–" : this.definition.format(number);
    });
  }
}

// Tables: rows and cells are reused, so that the selection and the focus survive.

function fill(body, rows, ifNone) {
  const columns = body.parentNode.tHead.rows[0].cells;
  if (!rows.length) rows = [{ cells: [ifNone], className: "none" }];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach(({ cells, className = "" }, i) => {
    const row = body.rows[i] || body.insertRow();
    row.className = className;
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((text, j) => {
      const cell = row.cells[j] || row.insertCell();
      const last = j === cells.length - 1;
      cell.colSpan = last ? columns.length - j : 1;
      cell.className = last && cells.length < columns.length ? "words" : columns[j].className;
      if (cell.textContent !== String(text)) cell.textContent = text;
    });
  });
}

function workerRow(bind, worker) {
  if (worker.error) return { cells: [worker.pid, `✕ ${worker.error}`], className: "bad" };
  const reading = worker.binds[bind];
  const state = stateOf(reading);
  return {
    cells: [
      worker.pid, state === "exhausted" ? "▲ exhausted" : state,
      reading.in_use, reading.idle, reading.waiting, reading.max_size,
      count(reading.checkouts), count(reading.timeouts), duration(reading.oldest_use_seconds),
    ],
    className: state === "exhausted" ? "bad" : "",
  };
}

function holderRow(pid, holder) {
  return {
    cells: [
      duration(holder.seconds), holder.holder || "unknown", holder.statement || "none yet",
      holder.taken.at(-1) ?? "unknown", holder.in_transaction ? "open" : "none",
      holder.connection_id, pid, holder.thread,
    ],
  };
}

function endpointRow(name, { checkouts, timeouts, use_seconds: held, wait_seconds: waited }) {
  return {
    cells: [
      name || "unknown", count(checkouts), duration(held.p50), duration(held.p99), duration(held.max),
      duration(waited.p99), count(timeouts),
    ],
    className: timeouts ? "warn" : "",
  };
}

// One pool, over all workers

class Bind {
  constructor(name) {
    this.name = name;
    this.section = element("bind").content.firstElementChild.cloneNode(true);
    this.section.setAttribute("aria-label", `Pool ${name}`);
    this.section.querySelector("h2").textContent = name;
    for (const box of this.section.querySelectorAll("[data-table]")) {
      box.tabIndex = 0; // so that the arrow keys scroll it
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", `${box.dataset.table} of ${name}`);
    }
    element("binds").append(this.section);
    this.charts = [...this.section.querySelectorAll("[data-chart]")].map(
      (figure) => new Chart(figure, CHARTS[figure.dataset.chart]),
    );
  }

  show(workers, total) {
    const { name } = this;
    const answering = workers.filter((worker) => name in worker.binds);
    const silent = workers.filter((worker) => worker.error);
    this.showVerdict(answering.map((worker) => stateOf(worker.binds[name])), total);

    const rows = [...silent, ...answering].map((worker) => workerRow(name, worker));
    this.table("workers", rows, "No worker has used its pools yet.");

    const holders = answering.flatMap(({ pid, holders }) => holders[name].map((each) => [pid, each]));
    holders.sort(([, a], [, b]) => b.seconds - a.seconds);
    this.table("holders", holders.map((pair) => holderRow(...pair)), "No connection is checked out.");

    const endpoints = Object.entries(total.endpoints);
    endpoints.sort(([, a], [, b]) => b.checkouts - a.checkouts);
    this.table("endpoints", endpoints.map((pair) => endpointRow(...pair)), "No checkouts yet.");
  }

  showVerdict(states, { in_use, max_size, waiting, exhausted_ago: ago, ...total }) {
    const exhausted = states.filter((state) => state === "exhausted").length;
    this.state = exhausted ? "exhausted" : stateOf({ in_use, max_size, waiting });
    const also = this.state === "ok" ? "" : `, ${this.state}`;
    const wait = ago === null ? "" : `; a caller had to wait ${duration(ago)} ago`;
    const verdict = this.section.querySelector(".verdict");
    verdict.className = `verdict ${this.state}`;
    verdict.textContent = exhausted
      ? `▲ Exhausted in ${exhausted} of ${states.length} workers: ${waiting} waiting,`
        + ` the first for ${duration(total.oldest_wait_seconds)}`
      : `${in_use} of ${max_size} in use${also}${wait}`;
  }

  table(name, rows, ifNone) {
    fill(this.section.querySelector(`[data-table=${name}] tbody`), rows, ifNone);
  }

  // With a gap before it if no snapshot came for a while.
  draw(time, point, gap) {
    for (const chart of this.charts) {
      if (gap) chart.add(time - REFRESH_INTERVAL / 1000, {});
      chart.add(time, point);
    }
  }
}

// The page

const binds = new Map();
let last = null; // the latest snapshot
let past = []; // the snapshots in the window before it
let failure = ""; // why there is no newer one
let paused = false;
let refreshing = false;
let timer = 0;

function show(data) {
  if (last && last.time - data.time > GAP_SECONDS) location.reload(); // the server's clock was set back
  if (last && data.time <= last.time) return; // the same snapshot, shared with another viewer
  const pids = data.workers.filter((worker) => !worker.error).map((worker) => worker.pid).join();
  const seconds = last ? data.time - last.time : 0;
  // Totals of different workers cannot be compared.
  past = past.filter((each) => each.pids === pids && data.time - each.time <= WINDOW);
  for (const [name, total] of Object.entries(data.totals)) {
    if (!binds.has(name)) binds.set(name, new Bind(name));
    const bind = binds.get(name);
    bind.show(data.workers, total);
    const [previous, first] = [past.at(-1)?.totals[name], past[0]?.totals[name]];
    bind.draw(data.time, pointOf(total, previous, first, seconds), seconds >= GAP_SECONDS);
  }
  last = { ...data, pids };
  past.push(last);
  element("app").textContent = ` of ${data.app}`;
}

function showState() {
  const clock = last ? new Date(last.time * 1000).toLocaleTimeString("en-GB") : "";
  const since = last ? ` The numbers are from ${clock}.` : "";
  const note = element("note");
  note.hidden = !failure;
  note.textContent = `✕ ${failure}.${since} Retrying each second.`;
  document.body.classList.toggle("stale", Boolean(failure));
  const state = failure ? "Connection lost" : paused ? "Paused" : last ? "Live" : "Connecting …";
  element("state").textContent = clock ? `${state} · ${clock}` : state;
  element("state").className = failure ? "bad" : "";
  const full = [...binds.values()].filter((bind) => bind.state === "exhausted").map((bind) => bind.name);
  document.title = `${full.length || failure ? "▲ " : ""}Pools${last ? ` of ${last.app}` : ""}`;
  const words = [state, ...full.map((name) => `pool ${name} is exhausted`)].join(", ");
  const announcement = element("announcement");
  if (announcement.textContent !== words) announcement.textContent = words; // announced once
}

async function refresh() {
  const began = performance.now();
  refreshing = true;
  try {
    const options = { cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(ANSWER_TIMEOUT) };
    const response = await fetch("data.json", options).catch(() => {
      throw new Error("The server does not answer");
    });
    if (response.type === "opaqueredirect") throw new Error("the server redirects to another page: sign in again");
    const json = response.headers.get("Content-Type") === "application/json";
    const data = json ? await response.json() : {};
    if (!response.ok) throw new Error(data.error || `the server answers ${response.status}`);
    show(data);
    failure = "";
  } catch (error) {
    failure = error.message;
  }
  refreshing = false;
  showState();
  schedule(REFRESH_INTERVAL - (performance.now() - began));
}

function schedule(milliseconds) {
  clearTimeout(timer);
  if (!refreshing && !paused && !document.hidden) timer = setTimeout(refresh, Math.max(0, milliseconds));
}

element("pause").addEventListener("click", () => {
  paused = !paused;
  element("pause").setAttribute("aria-pressed", paused);
  showState();
  schedule(0);
});
document.addEventListener("visibilitychange", () => schedule(0));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  binds.forEach((bind) => bind.charts.forEach((chart) => chart.draw()));
});
schedule(0);
