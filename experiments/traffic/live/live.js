"use strict";
// Asks once a second what is new, and draws it. Names come from the plan and from endpoints, so
// all text is set as text and never as markup.

const EVERY_MS = 1000;
const KEPT = 600;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 150, LEFT = 40, TOP = 8, BOTTOM = 18;

// What a chart shows, the least that its axis reaches to, and how each line is read from a point.
const OF_ARMS = [
  ["Rate, req/s", 0.01, (arm) => arm.rate_rps],
  ["Errors, %", 1, (arm) => 100 * arm.failed],
  ["Response p50, ms", 0.01, (arm) => arm.p50_ms],
  ["Response p99, ms", 0.01, (arm) => arm.p99_ms],
];
const OF_GENERATOR = [
  ["Rate, req/s", 0.01, [["offered", (p) => p.due_rps], ["achieved", (p) => p.achieved_rps]]],
  ["p99, ms", 1, [["late by", (p) => p.lateness_p99_ms], ["event loop lag", (p) => p.loop_lag_p99_ms]]],
  ["Of one core, %", 100, [["CPU", (p) => 100 * p.cpu]]],
];

let run = null, seen = 0, points = [];

function element(name, text, attributes = {}, space = null) {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
const drawn = (name, attributes, text = null) => element(name, text, attributes, SVG);
// Four colours and four dashes: as many lines as a plan may have arms, each with its own pair.
const look = (number) => `line c${number % 4} d${(number + Math.floor(number / 4)) % 4}`;
const at = (id) => document.getElementById(id);

function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return value >= 100 ? count(Math.round(value)) : value.toPrecision(3);
}
const count = (value) => value.toLocaleString("en", { maximumSignificantDigits: 12 });
const percent = (share) => `${(100 * share).toFixed(2)} %`;
const clock = (s) => `${String(Math.floor(s / 60)).padStart(2, "0")}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

function ceiling(highest) {
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 3, 5, 10].map((step) => step * power).find((each) => each >= highest * 0.999);
}

// `series` is an array of [name, array of [time, value or null]].
function chart(title, least, series) {
  const all = series.flatMap(([, line]) => line).filter(([, value]) => value !== null && value !== undefined);
  const highest = ceiling(Math.max(...all.map(([, value]) => value), least));
  const times = all.map(([time]) => time);
  const first = Math.min(...times, times.length ? Infinity : 0), last = Math.max(...times, first + 10);
  const x = (time) => LEFT + (WIDTH - LEFT) * (time - first) / Math.max(last - first, 1);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / highest);
  const now = series.map(([name, line]) => `${name} ${figure(line.length ? line[line.length - 1][1] : null)}`);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}. Now: ${now.join(", ")}.` });
  for (const value of [0, highest / 2, highest]) {
    svg.append(drawn("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }));
    svg.append(drawn("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, count(value)));
  }
  if (all.length) {
    svg.append(drawn("text", { x: LEFT, y: HEIGHT - 4 }, clock(first)));
    svg.append(drawn("text", { x: WIDTH, y: HEIGHT - 4, "text-anchor": "end" }, clock(last)));
  }
  series.forEach(([, values], number) => {
    let path = "", pen = "M";
    for (const [time, value] of values) {
      if (value === null || value === undefined) { pen = "M"; continue; }
      path += `${pen}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    }
    svg.append(drawn("path", { class: look(number), d: path }));
  });
  const whole = element("figure", null);
  whole.append(element("figcaption", title), svg);
  return whole;
}

function key(number) {
  const made = drawn("svg", { class: "key", viewBox: "0 0 24 10", "aria-hidden": "true" });
  made.append(drawn("path", { class: look(number), d: "M0 5L24 5" }));
  return made;
}

function row(number, totals, recent) {
  const made = element("tr", null);
  const name = element("th", null, { scope: "row" });
  name.append(key(number), element("span", totals.arm));
  made.append(name);
  const failed = Object.entries(totals.failed).map(([outcome, times]) => `${count(times)} ${outcome}`);
  for (const text of [
    figure(recent ? recent.rate_rps : 0), figure(recent ? recent.p50_ms : null), figure(recent ? recent.p99_ms : null),
    recent ? percent(recent.failed) : "–", count(totals.ended),
    figure(totals.response_ms[0]), figure(totals.response_ms[2]), figure(totals.service_ms[0]), figure(totals.service_ms[2]),
    failed.join(", ") || "0", count(totals.dropped),
  ]) made.append(element("td", text));
  return made;
}

function tell(stage) {
  // Only what changes is set: a screen reader reads it out each time.
  if (at("stage").textContent !== stage) at("stage").textContent = stage;
}

const STAGES = { starting: "About to start.", draining: "Awaiting the last answers." };

function show(view) {
  if (!view.run_id) return;
  const names = view.arms.map((each) => each.arm);
  at("run").textContent = view.run_id;
  document.title = `${clock(view.elapsed_s)} ${view.run_id}`;
  tell(view.stage === "ended" ? `The run has ended (${view.ended_as}).` : STAGES[view.stage] || `Sending: ${view.stage}.`);
  at("done").value = Math.min(view.elapsed_s / view.length_s, 1);
  const planned = view.planned === null ? "" : ` of ${count(view.planned)}`;
  at("clock").textContent = `${clock(Math.min(view.elapsed_s, view.length_s))} of ${clock(view.length_s)}, ${count(view.begun)}${planned} requests begun, ${count(view.in_flight)} in flight`;
  at("arms").replaceChildren(...view.arms.map((each, number) => row(number, each, view.recent.arms[each.arm])));
  at("of-arms").replaceChildren(...OF_ARMS.map(([title, least, of]) => chart(title, least,
    names.map((name) => [name, points.map((p) => [p.elapsed_s, p.arms[name] ? of(p.arms[name]) : null])]))));
  at("of-generator").replaceChildren(...OF_GENERATOR.map(([title, least, lines]) => {
    const shown = lines.filter(([name]) => name !== "offered" || view.recent.due_rps !== null);
    const made = chart(title, least, shown.map(([name, of]) => [name, points.map((p) => [p.elapsed_s, of(p)])]));
    shown.forEach(([name, of], number) => made.firstChild.append("; ", key(number), `${name} ${figure(of(view.recent))}`));
    return made;
  }));
}

async function answered() {
  try {
    const answer = await fetch(`live.json?seen=${seen}`, { cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  } catch { return null; }
}

async function ask() {
  const view = await answered();
  setTimeout(ask, view && view.run_id !== run && seen > 0 ? 0 : EVERY_MS);
  if (view === null) {
    if (!at("stage").textContent.startsWith("The run has ended")) tell("Nothing is under way here now. This page asks again each second.");
    return;
  }
  if (view.run_id !== run) {
    const isFirst = seen === 0;
    [run, points, seen] = [view.run_id, [], 0];
    if (!isFirst) return;
  }
  points = [...points, ...(view.points || [])].slice(-KEPT);
  seen = view.seen || 0;
  show(view);
}
ask();
