// The dashboard: looks at the host come as server-sent events from /figures, one a second; everything shown is made of them.
// Texts of others enter the page as text alone, never as markup.
"use strict";

const KEPT_S = 600; // Looks that are kept, in seconds.
const LOST_MS = 5000; // Without a look for so long, the host is said to be lost.
const LETTERS = 100; // Dead letters that are listed.

const $ = (id) => document.getElementById(id);

// An element with attributes and children; handlers are given as onclick and the like.
function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  return element;
}

// Text changes touch the page only where they change something.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Numbers for people

const whole = new Intl.NumberFormat("en-US");

function digits(value) {
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function showRate(value) {
  if (value >= 1e6) return digits(value / 1e6) + "M";
  if (value >= 1e4) return digits(value / 1e3) + "k";
  return value >= 100 ? whole.format(Math.round(value)) : value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

function showTime(nanos) {
  if (nanos === null || nanos === undefined) return "–";
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    if (nanos >= size) return digits(nanos / size) + " " + unit;
  }
  return nanos + " ns";
}

function showBytes(bytes) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= size) return digits(bytes / size) + " " + unit;
  }
  return bytes + " B";
}

function showSpan(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

const showClock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

// What is known

const state = {
  looks: [], // {time, first, total, host, subsystems: {NAME: numbers}}: what charts need.
  figures: null, // The last look, whole.
  events: [], // {time, subsystem, what}, the newest first.
  isOpen: false, // Whether the stream is.
  heard: 0, // When the last look came, by this page's clock.
  held: false,
  sort: { key: "name", down: false },
  filter: "",
};

// The numbers of a flow that charts are made of; what was not measured is null.
function numbers(flow, depth) {
  const at = (times, share) => (times ? times[share] : null);
  return {
    accepted: flow.accepted, handled: flow.handled, errors: flow.errors, dropped: flow.dropped, refused: flow.refused, depth,
    p50: at(flow.wait, "p50"), p95: at(flow.wait, "p95"), p99: at(flow.wait, "p99"), handle: at(flow.handle, "p99"),
  };
}

function depthOf(figures) {
  return Object.values(figures.status.subsystems).reduce((sum, one) => sum + one.queue.depth, 0);
}

function take(figures, isPast) {
  const last = state.looks[state.looks.length - 1];
  // A new stream tells the past again; what is live is news, also after the clock was set back.
  if (isPast && last && figures.time_ms <= last.time) return false;
  const subsystems = {};
  for (const [name, flow] of Object.entries(figures.subsystems)) {
    subsystems[name] = numbers(flow, figures.status.subsystems[name].queue.depth);
  }
  state.looks.push({
    time: figures.time_ms, first: figures.interval_s === 0, subsystems, total: numbers(figures.total, depthOf(figures)),
    host: { memory: figures.status.memory_rss_bytes, cpu: figures.cpu * 100, pool: figures.pool_used_bytes },
    events: figures.events,
  });
  while (state.looks.length && state.looks[0].time < figures.time_ms - KEPT_S * 1000) state.looks.shift();
  for (const event of figures.events) state.events.unshift({ time: figures.time_ms, ...event });
  state.events.length = Math.min(state.events.length, 200);
  state.figures = figures;
  return true;
}

// The stream

function connect() {
  const source = new EventSource("/figures");
  const hear = (isPast) => (message) => {
    if (!isPast) {
      state.heard = Date.now();
      state.isOpen = true;
    }
    if (take(JSON.parse(message.data), isPast) && !isPast && !state.held && !document.hidden) render();
  };
  source.addEventListener("past", hear(true));
  source.addEventListener("figures", hear(false));
  source.onopen = () => {
    // What failed while there was no host is over.
    document.querySelectorAll(".note.bad").forEach((box) => box.remove());
  };
  source.onerror = () => {
    // A browser gives up for good where it got another answer than a stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    state.isOpen = false;
    renderLink();
  };
}

function renderLink() {
  const link = $("link");
  const isLost = state.heard && (!state.isOpen || Date.now() - state.heard > LOST_MS);
  document.body.classList.toggle("stale", Boolean(isLost));
  link.className = "link " + (isLost ? "lost" : state.held ? "held" : state.heard ? "live" : "");
  if (isLost) {
    say(link, "no host since " + showClock(state.heard));
    say($("health"), "unknown");
    $("health").className = "pill";
  }
  else say(link, state.held ? "held" : state.heard ? "live" : "connecting");
}

// The token: it comes with the address that `mycelia run` prints, and stays in this tab.

const token = {
  get: () => sessionStorage.getItem("mycelia-token"),
  set: (text) => sessionStorage.setItem("mycelia-token", text.trim()),
};

function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash);
  if (!given) return;
  token.set(decodeURIComponent(given[1]));
  history.replaceState(null, "", location.pathname + "#/");
}

// Asks the host; with the token where there is one. Throws what the host says of a refusal.
async function call(method, path, body) {
  const headers = token.get() ? { Authorization: "Bearer " + token.get() } : {};
  let response;
  try {
    response = await fetch(path, { method, headers, body });
  } catch {
    throw new Error("the host does not answer");
  }
  if (response.ok) return response.json();
  const refusal = await response.json().catch(() => ({}));
  const error = new Error(refusal.text || "HTTP " + response.status);
  error.needsToken = response.status === 401;
  throw error;
}

const query = (pairs) => "?" + new URLSearchParams(pairs);

// Notes in the corner: good ones go by themselves, bad ones are closed.
function note(text, isBad) {
  const box = el("div", { class: "note" + (isBad ? " bad" : ""), role: isBad ? "alert" : null }, el("span", {}, text), el("span", { class: "grow" }));
  box.append(el("button", { type: "button", "aria-label": "Close this note", onclick: () => box.remove() }, "✕"));
  $("notes").append(box);
  if (!isBad) setTimeout(() => box.remove(), 8000);
}

// Does something that needs the token, and says what came of it.
async function act(button, what, done) {
  if (!token.get()) return askToken("This needs the token of the host.");
  button.disabled = true;
  try {
    note(done(await what()));
  } catch (error) {
    if (error.needsToken) askToken("The host does not know this token: it has a new one after each start.");
    else note(error.message, true);
  } finally {
    button.disabled = false;
  }
}

function askToken(why) {
  const field = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false" });
  const take = () => {
    if (!field.value.trim()) return;
    token.set(field.value);
    $("dialog").close();
    renderPage();
  };
  ask("The host's token", [
    el("p", {}, why + " Open the address that the host printed when it started, or paste here what stands behind ",
      el("code", {}, "#token="), " in it."),
    el("label", { for: "token" }, "Token"), field,
  ], "Use it", take);
  field.addEventListener("keydown", (event) => event.key === "Enter" && take());
  field.focus();
}

function ask(title, content, yes, done, isRisky) {
  const dialog = $("dialog");
  dialog.replaceChildren(
    el("h2", { id: "question" }, title), ...content,
    el("div", { class: "actions" },
      el("button", { type: "button", class: isRisky ? "risky" : null, onclick: done }, yes),
      el("button", { type: "button", onclick: () => dialog.close() }, "Cancel")),
  );
  dialog.showModal();
  // What cannot be taken back is not done by a mere Enter.
  if (isRisky) dialog.querySelector(".actions button:last-child").focus();
}

// Charts

class Chart {
  // `lines` are {name, show, of: look => number or null}; `isLog` spreads orders of magnitude.
  constructor(title, lines, { isLog = false, whose = null, floor = 4, isBytes = false } = {}) {
    Object.assign(this, { title, lines, isLog, whose, floor, isBytes, width: 0 });
    this.box = svg("svg", { role: "img", "aria-label": title, tabindex: "0" });
    this.values = lines.map(() => el("b"));
    this.tip = el("div", { class: "tip hidden", "aria-hidden": "true" });
    const legend = lines.map((line, index) => el("span", {}, el("i", { class: "c" + (index + 1) }), line.name + " ", this.values[index]));
    this.element = el("section", {},
      el("div", { class: "head" }, el("h2", {}, title), el("div", { class: "legend" }, ...legend)),
      el("div", { class: "chart" }, this.box, this.tip));
    this.box.addEventListener("pointermove", (event) => this.point(event));
    this.box.addEventListener("pointerleave", () => this.leave());
    this.box.addEventListener("keydown", (event) => this.step(event));
    this.box.addEventListener("blur", () => this.leave());
  }

  leave() {
    this.tip.classList.add("hidden");
    this.box.querySelector(".cross")?.remove();
    this.at = null;
  }

  // Where the arrow keys have come to.
  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !this.looks?.length) return;
    event.preventDefault();
    this.at = Math.min(this.looks.length - 1, Math.max(0, (this.at ?? this.looks.length) + by));
    this.show(this.looks[this.at]);
  }

  point(event) {
    if (!this.looks?.length) return;
    const x = event.clientX - this.box.getBoundingClientRect().left;
    const time = this.from + ((x - this.left) / (this.right - this.left)) * (this.until - this.from);
    const near = (best, look) => (Math.abs(look.time - time) < Math.abs(best.time - time) ? look : best);
    this.show(this.looks.reduce(near));
  }

  show(look) {
    this.shown = look.time;
    const x = this.x(look.time);
    let cross = this.box.querySelector(".cross");
    if (!cross) this.box.append((cross = svg("line", { class: "cross", y1: this.top, y2: this.bottom })));
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    const rows = this.lines.map((line) => el("div", {}, el("span", {}, line.name), el("b", {}, line.show(line.of(look)))));
    const events = look.events.filter((event) => this.concerns(event)).map((event) => el("span", { class: "what" }, event.subsystem + ": " + event.what));
    this.tip.replaceChildren(el("span", { class: "quiet" }, showClock(look.time)), ...rows, ...events);
    this.tip.classList.remove("hidden");
    const isRight = x > (this.left + this.right) / 2;
    this.tip.style.left = isRight ? "auto" : x + 12 + "px";
    this.tip.style.right = isRight ? this.width - x + 12 + "px" : "auto";
  }

  concerns(event) {
    return !this.whose || event.subsystem === this.whose;
  }

  x(time) {
    return this.left + ((time - this.from) / (this.until - this.from)) * (this.right - this.left);
  }

  draw(looks, from, until) {
    this.width = this.box.clientWidth;
    const height = this.box.clientHeight;
    if (!this.width || !height) return;
    Object.assign(this, { looks, from, until, left: 58, right: this.width - 6, top: 8, bottom: height - 20 });
    const present = looks[looks.length - 1];
    this.lines.forEach((line, index) => say(this.values[index], present ? line.show(line.of(present)) : "–"));
    const [low, high] = this.range(looks);
    const place = (value) => {
      const share = this.isLog ? (Math.log10(Math.max(value, low)) - Math.log10(low)) / (Math.log10(high) - Math.log10(low)) : value / high;
      return this.bottom - share * (this.bottom - this.top);
    };
    const parts = [...this.axes(low, high, place)];
    for (const look of looks) {
      if (look.events.some((event) => this.concerns(event))) {
        const x = this.x(look.time);
        parts.push(svg("line", { class: "event", x1: x, x2: x, y1: this.top, y2: this.bottom }));
      }
    }
    // The first line lies on top of those that it may cover.
    [...this.lines.entries()].reverse().forEach(([index, line]) => parts.push(...this.path(line, index, looks, place)));
    this.box.replaceChildren(...parts);
    const shown = !this.tip.classList.contains("hidden") && looks.find((look) => look.time === this.shown);
    if (shown) this.show(shown);
    else this.tip.classList.add("hidden");
    const words = this.lines.map((line, index) => line.name + " " + this.values[index].textContent);
    this.box.setAttribute("aria-label", this.title + ": " + words.join(", "));
  }

  range(looks) {
    const values = looks.flatMap((look) => this.lines.map((line) => line.of(look))).filter((value) => value !== null);
    if (this.isLog) {
      const positive = values.filter((value) => value > 0);
      const decade = (value, round) => 10 ** round(Math.log10(value));
      const low = positive.length ? decade(Math.min(...positive), Math.floor) : 1e3;
      return [low, Math.max(positive.length ? decade(Math.max(...positive), Math.ceil) : 1e6, low * 10)];
    }
    const most = values.reduce((a, b) => Math.max(a, b), 0);
    const end = Math.max(most * 1.08, this.floor);
    const unit = this.isBytes ? 1024 ** Math.floor(Math.log(end) / Math.log(1024)) : 1;
    return [0, unit * nice(end / unit)];
  }

  *axes(low, high, place) {
    const marks = [];
    if (this.isLog) for (let mark = low; mark <= high * 1.01; mark *= 10) marks.push(mark);
    else for (let part = 0; part <= 4; part++) marks.push((high * part) / 4);
    const every = Math.ceil(marks.length / 6);
    for (const mark of marks.filter((_, index) => index % every === 0)) {
      const y = place(mark);
      yield svg("line", { class: "grid", x1: this.left, x2: this.right, y1: y, y2: y });
      const text = svg("text", { x: this.left - 6, y: y + 4, "text-anchor": "end" });
      text.textContent = this.lines[0].show(mark);
      yield text;
    }
    const parts = this.width < 420 ? 2 : this.until - this.from > 60000 ? 5 : 4;
    for (let part = 0; part <= parts; part++) {
      const seconds = Math.round(((this.until - this.from) / 1000) * (1 - part / parts));
      const anchor = part === 0 ? "start" : part === parts ? "end" : "middle";
      const text = svg("text", { x: this.left + ((this.right - this.left) * part) / parts, y: this.bottom + 15, "text-anchor": anchor });
      text.textContent = seconds === 0 ? "now" : seconds >= 60 ? "−" + digits(seconds / 60) + " min" : "−" + digits(seconds) + " s";
      yield text;
    }
  }

  *path(line, index, looks, place) {
    const runs = [];
    let before = null;
    for (const look of looks) {
      const value = look.first ? null : line.of(look);
      // Nothing is drawn over a time in which nobody looked.
      if (value === null || !before || look.time - before.time > 4000) runs.push([]);
      if (value !== null) runs[runs.length - 1].push([this.x(look.time), place(value)]);
      before = value === null ? null : look;
    }
    const drawn = runs.filter((run) => run.length);
    const join = (run) => run.map(([x, y]) => x.toFixed(1) + " " + y.toFixed(1)).join("L");
    // One look alone is a dot.
    const lines = drawn.map((run) => "M" + join(run) + (run.length === 1 ? "h.1" : "")).join("");
    if (index === 0 && !this.isLog) {
      const close = (run) => "M" + run[0][0].toFixed(1) + " " + this.bottom + "L" + join(run) + "V" + this.bottom + "Z";
      yield svg("path", { class: "area", d: drawn.map(close).join("") });
    }
    // A trouble that never came needs no line along the axis.
    const isQuiet = line.isTrouble && !looks.some((look) => line.of(look) > 0);
    if (!isQuiet) yield svg("path", { class: "line c" + (index + 1), d: lines });
  }
}

// The next number of the form 1, 2, 4 or 5 times a power of ten, so that quarters of it are short.
function nice(value) {
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * decade).find((step) => step >= value * 0.999);
}

function flowCharts(of, whose) {
  const line = (name, key, show, isTrouble) => ({ name, isTrouble, show: (value) => (value === null ? "–" : show(value)), of: (look) => of(look)?.[key] ?? null });
  return [
    new Chart("Messages a second", [line("handled", "handled", showRate), line("accepted", "accepted", showRate), line("errors", "errors", showRate, true), line("dropped", "dropped", showRate, true)], { whose }),
    new Chart("Wait in the queue", [line("p99", "p99", showTime), line("p95", "p95", showTime), line("p50", "p50", showTime)], { isLog: true, whose }),
    new Chart("Messages that wait", [line("queued", "depth", showRate)], { whose }),
  ];
}

function hostCharts() {
  const line = (name, key, show) => ({ name, show: (value) => (value === null ? "–" : show(value)), of: (look) => look.host[key] });
  return [
    new Chart("Memory", [line("resident", "memory", showBytes)], { floor: 2 ** 20, isBytes: true }),
    new Chart("CPU, 100% is one core", [line("used", "cpu", (value) => digits(value) + "%")], { floor: 10 }),
  ];
}

// Tables of subsystems

const PHASES = { running: "good", starting: "warn", reloading: "warn", restarting: "warn", stopping: "bad", stopped: "bad" };

const lettersOf = (figures, name) => Object.values(figures.status.dead_letters.subsystems[name] || {}).reduce((sum, count) => sum + count, 0);

const p99 = (times) => (times ? times.p99 : null);

// Each column: its heading, what it sorts by, and how a cell is filled.
const COLUMNS = [
  { key: "name", label: "Subsystem", text: true, is: "key", by: (row) => row.name },
  { key: "phase", label: "Phase", text: true, by: (row) => row.status.phase },
  { key: "generation", label: "Gen.", title: "Generation: counts the builds that were loaded", by: (row) => row.status.generation },
  { key: "handled", label: "Handled/s", by: (row) => row.flow.handled },
  { key: "errors", label: "Errors/s", title: "Failed, expired or dead", by: (row) => row.flow.errors },
  { key: "dropped", label: "Dropped/s", by: (row) => row.flow.dropped },
  { key: "refused", label: "Refused/s", title: "Given back: the queue was full, or a scope was missing", by: (row) => row.flow.refused },
  { key: "depth", label: "Queue", is: "long", by: (row) => row.status.queue.depth / row.status.queue.capacity },
  { key: "wait", label: "Wait p99", by: (row) => p99(row.flow.wait) ?? -1 },
  { key: "handle", label: "Handler p99", by: (row) => p99(row.flow.handle) ?? -1 },
  { key: "restarts", label: "Restarts", by: (row) => row.status.restarts },
  { key: "memory", label: "Heap", title: "What the plugin's own heap holds", by: (row) => row.status.memory },
  { key: "letters", label: "Dead", title: "Dead letters that are kept", by: (row) => row.letters },
];

function fill(cell, key, row) {
  const { status, flow } = row;
  const alarming = (value, text) => {
    say(cell, text);
    cell.classList.toggle("bad", value > 0);
  };
  switch (key) {
    case "name":
      say(cell.lastChild, status.last_error || "");
      cell.lastChild.title = status.last_error || "";
      break;
    case "phase":
      say(cell.firstChild, status.phase);
      cell.firstChild.className = "word " + PHASES[status.phase];
      break;
    case "generation": say(cell, String(status.generation)); break;
    case "handled": say(cell, showRate(flow.handled)); break;
    case "errors": alarming(flow.errors, showRate(flow.errors)); break;
    case "dropped": alarming(flow.dropped, showRate(flow.dropped)); break;
    case "refused": alarming(flow.refused, showRate(flow.refused)); break;
    case "depth": fillMeter(cell, status.queue); break;
    case "wait": say(cell, showTime(p99(flow.wait))); break;
    case "handle": say(cell, showTime(p99(flow.handle))); break;
    case "restarts": alarming(status.restarts, whole.format(status.restarts)); break;
    case "memory": say(cell, showBytes(status.memory)); break;
    case "letters": alarming(row.letters, whole.format(row.letters)); break;
  }
}

function fillMeter(cell, queue) {
  const [text, meter] = cell.children;
  say(text, whole.format(queue.depth) + " / " + whole.format(queue.capacity));
  const share = queue.depth / queue.capacity;
  meter.className = "meter" + (share >= 0.95 ? " full" : share >= 0.7 ? " high" : "");
  meter.firstChild.style.width = Math.min(100, share * 100) + "%";
}

const meter = () => el("span", { class: "meter", "aria-hidden": "true" }, el("span"));

class SubsystemTable {
  constructor() {
    this.rows = new Map();
    this.body = el("tbody");
    this.heads = COLUMNS.map((column) => {
      const button = el("button", { type: "button", title: column.title, onclick: () => this.sort(column) }, column.label);
      return el("th", { scope: "col", class: column.text ? "text" : null }, button);
    });
    this.filter = el("input", { type: "search", id: "filter", placeholder: "Filter (/)", "aria-label": "Show subsystems whose name has this", value: state.filter });
    this.filter.addEventListener("input", () => {
      state.filter = this.filter.value;
      render();
    });
    this.count = el("span", { class: "quiet" });
    this.none = el("p", { class: "empty hidden" }, "No subsystem has this in its name.");
    this.element = el("section", {},
      el("div", { class: "head" }, el("h2", {}, "Subsystems"), this.count, el("span", { class: "grow" }), this.filter),
      el("div", { class: "scroll" }, el("table", { class: "cards" }, el("thead", {}, el("tr", {}, ...this.heads)), this.body)), this.none);
  }

  sort(column) {
    const isSame = state.sort.key === column.key;
    // What is counted is looked for from the top.
    state.sort = { key: column.key, down: isSame ? !state.sort.down : !column.text };
    render();
  }

  update(figures) {
    const column = COLUMNS.find((column) => column.key === state.sort.key);
    const names = Object.keys(figures.status.subsystems);
    const rows = names.filter((name) => name.includes(state.filter)).map((name) => ({
      name, status: figures.status.subsystems[name], flow: figures.subsystems[name], letters: lettersOf(figures, name),
    }));
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    rows.sort((a, b) => (state.sort.down ? -1 : 1) * compare(column.by(a), column.by(b)) || compare(a.name, b.name));
    say(this.count, rows.length === names.length ? String(names.length) : rows.length + " of " + names.length);
    this.none.classList.toggle("hidden", rows.length > 0);
    COLUMNS.forEach((each, index) => {
      if (each === column) this.heads[index].setAttribute("aria-sort", state.sort.down ? "descending" : "ascending");
      else this.heads[index].removeAttribute("aria-sort");
      say(this.heads[index].firstChild, each.label + (each === column ? (state.sort.down ? " ↓" : " ↑") : ""));
    });
    const shown = new Set(rows.map((row) => row.name));
    for (const [name, row] of this.rows) {
      if (!shown.has(name)) {
        row.remove();
        this.rows.delete(name);
      }
    }
    rows.forEach((row, place) => this.place(row, place));
  }

  // Rows move only where the order has changed, so that what has the focus keeps it.
  place(row, place) {
    let element = this.rows.get(row.name);
    if (!element) {
      element = el("tr", {}, ...COLUMNS.map((column) => this.cell(column, row.name)));
      this.rows.set(row.name, element);
    }
    if (this.body.children[place] !== element) this.body.insertBefore(element, this.body.children[place] || null);
    COLUMNS.forEach((column, index) => fill(element.children[index], column.key, row));
  }

  cell(column, name) {
    const cell = el("td", { class: [column.text && "text", column.is].filter(Boolean).join(" "), "data-label": column.label });
    if (column.key === "name") cell.append(el("a", { class: "name", href: "#/subsystem/" + encodeURIComponent(name) }, name), el("span", { class: "cut" }));
    if (column.key === "phase") cell.append(el("span"));
    if (column.key === "depth") cell.append(el("span"), meter());
    return cell;
  }
}

// Pages: each has an element and is told of each look.

function tile(title) {
  const parts = { big: el("div", { class: "big" }), more: el("p"), box: null, meter: null };
  parts.box = el("div", { class: "tile" }, el("h2", {}, title), parts.big, parts.more);
  parts.set = (value, unit, more, isAlert) => {
    const text = value + (unit ? "|" + unit : "");
    if (parts.text !== text) {
      parts.text = text;
      parts.big.replaceChildren(value, unit ? el("small", {}, unit) : "");
    }
    say(parts.more, more || "");
    parts.box.classList.toggle("alert", Boolean(isAlert));
  };
  return parts;
}

const percentiles = (times) => (times ? "p50 " + showTime(times.p50) + " · p95 " + showTime(times.p95) : "nothing in the last 10 s");

// The tiles of a flow, on both pages.
function flowTiles() {
  const tiles = ["Handled", "Wait in the queue, p99", "Handler, p99", "Queued", "Errors and drops"].map(tile);
  const [handled, wait, handle, queued, wrong] = tiles;
  return {
    boxes: tiles.map((one) => one.box),
    update(flow, queue) {
      handled.set(showRate(flow.handled), "a second", showRate(flow.accepted) + " accepted");
      wait.set(showTime(p99(flow.wait)), "", percentiles(flow.wait));
      handle.set(showTime(p99(flow.handle)), "", percentiles(flow.handle));
      queued.set(whole.format(queue.depth), "of " + whole.format(queue.capacity), queue.more);
      const bad = flow.errors + flow.dropped + flow.refused;
      wrong.set(showRate(bad), "a second", showRate(flow.errors) + " errors · " + showRate(flow.dropped) + " dropped · " + showRate(flow.refused) + " refused", bad > 0);
    },
  };
}

class EventList {
  constructor(whose) {
    this.whose = whose;
    this.list = el("ol", { class: "events", tabindex: "0", "aria-label": "What has happened, the newest first" });
    this.element = el("section", {}, el("div", { class: "head" }, el("h2", {}, "What has happened")), this.list);
  }

  update() {
    const events = state.events.filter((event) => !this.whose || event.subsystem === this.whose).slice(0, 50);
    const key = events.length + "/" + (events[0]?.time || 0);
    if (this.key === key) return;
    this.key = key;
    const row = (event) => el("li", {}, el("time", {}, showClock(event.time)),
      this.whose ? null : el("a", { href: "#/subsystem/" + encodeURIComponent(event.subsystem) }, event.subsystem), el("span", {}, event.what));
    this.list.replaceChildren(...events.map(row));
    if (!events.length) this.list.append(el("li", { class: "empty" }, "No reload, restart or end while somebody watched."));
  }
}

class Overview {
  constructor() {
    this.title = "All subsystems";
    this.flow = flowTiles();
    [this.memory, this.cpu, this.letters] = ["Memory", "CPU", "Dead letters"].map(tile);
    this.charts = [...flowCharts((look) => look.total, null), ...hostCharts()];
    this.table = new SubsystemTable();
    this.events = new EventList(null);
    this.retained = el("section", { class: "hidden" });
    this.element = el("div", {},
      el("div", { class: "tiles" }, ...this.flow.boxes, this.memory.box, this.cpu.box, this.letters.box),
      this.table.element, el("div", { class: "charts" }, ...this.charts.map((chart) => chart.element), this.events.element), this.retained);
  }

  update(figures) {
    const { status, total } = figures;
    const all = Object.entries(status.subsystems);
    const deepest = all.reduce((best, [name, one]) => (one.queue.depth > (best?.depth || 0) ? { name, depth: one.queue.depth } : best), null);
    this.flow.update(total, {
      depth: depthOf(figures), capacity: all.reduce((sum, [, one]) => sum + one.queue.capacity, 0),
      more: deepest ? "most in " + deepest.name : "all queues are empty",
    });
    this.memory.set(showBytes(status.memory_rss_bytes), "", "pool " + showBytes(figures.pool_used_bytes) + " of " + showBytes(figures.pool_bytes));
    this.cpu.set(digits(figures.cpu * 100) + "%", "of a core", status.workers + " workers" + (status.lost_threads ? ", " + status.lost_threads + " lost threads" : ""), status.lost_threads > 0);
    const { kept, let_go: gone } = status.dead_letters;
    this.letters.set(whole.format(kept), "kept", gone ? whole.format(gone) + " had no room" : kept ? "in " + Object.keys(status.dead_letters.subsystems).join(", ") : "every message was handled", kept > 0);
    this.table.update(figures);
    this.events.update();
    const builds = status.retained_generations;
    this.retained.classList.toggle("hidden", builds.length === 0);
    const rows = builds.map((build) => el("p", { class: "quiet" }, build.subsystem + ", generation " + build.generation + ", " + build.phase + ": " + build.reason));
    this.retained.replaceChildren(el("h2", {}, "Generations that are not unloaded yet"), ...rows);
  }
}

class Subsystem {
  constructor(name) {
    this.name = name;
    this.title = name;
    this.flow = flowTiles();
    this.charts = flowCharts((look) => look.subsystems[name], name);
    this.events = new EventList(name);
    this.phase = el("span", { class: "pill" });
    this.about = el("span", { class: "quiet" });
    this.error = el("p", { class: "bad hidden" });
    this.reload = el("button", { type: "button", onclick: () => this.doReload() }, "Reload");
    this.restart = el("button", { type: "button", class: "risky", onclick: () => this.askRestart() }, "Restart…");
    this.counts = el("dl", { class: "pairs" });
    this.routes = el("tbody");
    this.letters = new Letters(name);
    const head = (...labels) => el("thead", {}, el("tr", {}, ...labels.map((label, index) => el("th", { scope: "col", class: index < 3 ? "text" : null }, label))));
    this.element = el("div", {},
      el("section", {},
        el("div", { class: "head" }, el("a", { href: "#/" }, "← All"), el("h1", {}, name), this.phase, this.about, el("span", { class: "grow" }), el("div", { class: "actions" }, this.reload, this.restart)),
        this.error),
      el("div", { class: "tiles five" }, ...this.flow.boxes),
      el("div", { class: "charts" }, ...this.charts.map((chart) => chart.element), this.events.element),
      this.letters.element,
      el("section", {}, el("div", { class: "head" }, el("h2", {}, "Routes"), el("span", { class: "quiet" }, "Messages that left the queue, by how they ended. Reach says who may send.")),
        el("div", { class: "scroll" }, el("table", { class: "cards" }, head("Route", "Reach", "Scope", "A second", "Handled", "Failed", "Expired", "Dead"), this.routes))),
      el("section", {}, el("div", { class: "head" }, el("h2", {}, "Counts since the start")), this.counts));
  }

  update(figures) {
    const one = figures.status.subsystems[this.name];
    if (!one) {
      this.element.replaceChildren(el("p", {}, "The host has no subsystem “" + this.name + "”. "), el("a", { href: "#/" }, "All subsystems"));
      return;
    }
    say(this.phase, one.phase);
    this.phase.className = "pill " + PHASES[one.phase];
    say(this.about, one.plugin + " " + one.version + " · generation " + one.generation + " (" + one.hash.slice(0, 12) + ") · " + one.queue.policy + " · heap " + showBytes(one.memory));
    say(this.error, one.last_error ? "Last error: " + one.last_error : "");
    this.error.classList.toggle("hidden", !one.last_error);
    this.flow.update(figures.subsystems[this.name], { ...one.queue, more: whole.format(one.ledger.in_flight) + " in flight" });
    this.count(one);
    this.events.update();
    this.letters.update(figures);
    this.askRoutes(figures.time_ms);
  }

  count(one) {
    const { ledger, requests, reloads } = one;
    const rows = [
      ...Object.entries(ledger).map(([name, count]) => [name.replace("_", " "), count]),
      ["asked", requests.asked], ["answered", requests.answered], ["asks failed", requests.failed], ["asks timed out", requests.timed_out], ["asks open", requests.pending],
      ["published", one.published], ["restarts", one.restarts], ["hung handlers", one.hung], ["lost threads", one.lost_threads],
      ["reloads", reloads.committed], ["refused builds", reloads.refused], ["rolled back", reloads.rolled_back],
      ...Object.entries(one.metrics),
    ];
    if (this.counts.children.length !== rows.length) {
      this.counts.replaceChildren(...rows.map(([name]) => el("div", {}, el("dt", {}, name), el("dd"))));
    }
    rows.forEach(([, count], index) => say(this.counts.children[index].lastChild, whole.format(count)));
  }

  // Routes are asked for with each look, and one answer at a time.
  async askRoutes(time) {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      this.showRoutes(await call("GET", "/routes" + query({ subsystem: this.name })), time);
    } catch {
      // The next look asks again.
    } finally {
      this.isAsking = false;
    }
  }

  showRoutes(routes, time) {
    const ended = (route) => route.handled + route.failed + route.expired + route.dead;
    const before = this.before;
    const seconds = before ? (time - before.time) / 1000 : 0;
    const labels = ["Route", "Reach", "Scope", "A second", "Handled", "Failed", "Expired", "Dead"];
    if (this.routes.children.length !== routes.length) {
      const cell = (label, index) => el("td", { class: [index < 3 && "text", index === 0 && "key mono"].filter(Boolean).join(" "), "data-label": label });
      this.routes.replaceChildren(...routes.map(() => el("tr", {}, ...labels.map(cell))));
    }
    routes.forEach((route, place) => {
      const was = before?.ends.get(route.pattern) ?? ended(route);
      const rate = seconds > 0 ? (ended(route) - was) / seconds : 0;
      const texts = [this.name + "://" + route.pattern, route.reach, route.scope || "–", showRate(Math.max(0, rate)), ...["handled", "failed", "expired", "dead"].map((end) => whole.format(route[end]))];
      texts.forEach((text, index) => {
        const cell = this.routes.children[place].children[index];
        say(cell, text);
        if (index > 4) cell.classList.toggle("bad", text !== "0");
      });
    });
    this.before = { time, ends: new Map(routes.map((route) => [route.pattern, ended(route)])) };
  }

  doReload() {
    act(this.reload, () => call("POST", "/reload" + query({ subsystem: this.name })),
      (report) => `${report.subsystem}: generation ${report.generation} (${report.plugin} ${report.version}) serves`);
  }

  askRestart() {
    if (!token.get()) return askToken("This needs the token of the host.");
    const text = "A fresh instance takes the place of the one that serves. What it holds in memory is lost; a reload would keep it.";
    ask("Restart " + this.name + "?", [el("p", {}, text)], "Restart it", () => {
      $("dialog").close();
      const path = "kernel://subsystem/" + this.name + "/restart";
      act(this.restart, () => call("POST", "/ask" + query({ path, within: "60s" })), (now) => `${now.subsystem}: ${now.phase}, a fresh instance of generation ${now.generation}`);
    }, true);
  }
}

// The dead letters of a subsystem, with their bodies.
class Letters {
  constructor(name) {
    this.name = name;
    this.list = el("div");
    this.count = el("span", { class: "quiet" });
    this.element = el("section", {}, el("div", { class: "head" }, el("h2", {}, "Dead letters"), this.count), this.list);
  }

  update(figures) {
    const reasons = figures.status.dead_letters.subsystems[this.name] || {};
    const words = Object.entries(reasons).map(([reason, count]) => whole.format(count) + " " + reason);
    say(this.count, words.join(", ") || "none: every message was handled, or told its sender");
    // The total grows and shrinks as letters come and go, also where one comes for one that went.
    const ledger = figures.status.subsystems[this.name].ledger;
    const key = [words.join(), ledger.dead, ledger.failed, ledger.expired, Boolean(token.get())].join("/");
    if (key !== this.key && !this.isAsking) this.load(key, words.length > 0);
  }

  async load(key, isAny) {
    if (!isAny || !token.get()) {
      this.key = key;
      this.list.replaceChildren();
      if (isAny) this.list.append(el("p", {}, "Paths and bodies need the token of the host. ", el("button", { type: "button", onclick: () => askToken("Dead letters hold what was sent.") }, "Give it")));
      return;
    }
    this.isAsking = true;
    try {
      const { letters } = await call("GET", "/dead-letters" + query({ subsystem: this.name, limit: LETTERS }));
      this.key = key;
      this.show(letters.reverse());
    } catch (error) {
      this.key = key;
      this.list.replaceChildren(el("p", { class: "bad" }, error.message + " "), el("button", { type: "button", onclick: () => askToken(error.message + ".") }, "Give the token"));
    } finally {
      this.isAsking = false;
    }
  }

  // A list that has changed keeps what is open.
  show(letters) {
    const open = this.open;
    this.open = null;
    const labels = ["Letter", "When", "Reason", "Path", "Sender", "Error"];
    const head = el("thead", {}, el("tr", {}, ...labels.map((label) => el("th", { scope: "col", class: "text" }, label))));
    const body = el("tbody");
    for (const letter of letters) {
      const button = el("button", { type: "button", "aria-expanded": "false", onclick: () => this.toggle(letter, row, button) }, "Open № " + letter.id);
      const texts = [showClock(letter.time_ms), letter.reason, letter.path, letter.sender, letter.text];
      const cells = texts.map((text, index) => el("td", { class: "text" + (index === 4 ? " wide" : index === 2 ? " mono" : ""), "data-label": labels[index + 1] }, text));
      const row = el("tr", {}, el("td", { class: "text key" }, button), ...cells);
      body.append(row);
      if (open === letter.id) this.toggle(letter, row, button);
    }
    this.list.replaceChildren(el("div", { class: "scroll" }, el("table", { class: "cards" }, head, body)));
    if (letters.length === LETTERS) this.list.append(el("p", { class: "quiet" }, `The newest ${LETTERS}; mycelia dead-letters list --subsystem ${this.name} has them all.`));
  }

  async toggle(letter, row, button) {
    const isOpen = row.nextSibling?.classList.contains("letter");
    this.list.querySelectorAll("tr.letter").forEach((other) => {
      other.previousSibling.querySelector("button").setAttribute("aria-expanded", "false");
      other.remove();
    });
    this.open = isOpen ? null : letter.id;
    if (isOpen) return;
    button.setAttribute("aria-expanded", "true");
    const place = el("td", { colspan: "6" }, "…");
    row.after(el("tr", { class: "letter" }, place));
    try {
      const told = await call("GET", "/dead-letters/" + letter.id);
      place.replaceChildren(...this.content(told));
    } catch (error) {
      place.replaceChildren(el("span", { class: "bad" }, error.message));
    }
  }

  content(letter) {
    const again = el("button", { type: "button" }, "Send it again");
    again.addEventListener("click", () => act(again, () => this.replay(letter.id), (text) => text));
    const away = el("button", { type: "button", class: "risky" }, "Throw it away…");
    away.addEventListener("click", () => ask("Throw away letter " + letter.id + "?", [el("p", {}, "Its body is lost then.")], "Throw it away", () => {
      $("dialog").close();
      act(away, () => call("POST", "/dead-letters/purge" + query({ id: letter.id })), () => "Letter " + letter.id + " is thrown away");
    }, true));
    const body = letter.body_text ?? letter.body_hex ?? "";
    const kind = `${whole.format(letter.length)} bytes, ${letter.encoding}` + (letter.body_hex !== undefined ? ", shown in hex" : "");
    return [
      el("div", { class: "quiet" }, `Route ${letter.route} · ${new Date(letter.time_ms).toLocaleString()} · ${kind}`),
      el("pre", { tabindex: "0", "aria-label": "Body of letter " + letter.id }, body || "(no body)"),
      el("div", { class: "actions" }, again, away, el("span", { class: "quiet" }, "It goes as a new message of its sender, who hears no answer.")),
    ];
  }

  async replay(id) {
    const report = await call("POST", "/dead-letters/replay" + query({ id }));
    const refused = report.refused[0];
    if (refused) throw new Error(`letter ${id} stays: ${refused.text}`);
    return `Letter ${id} was sent again`;
  }
}

// Drawing

let page = null;

function renderPage() {
  const named = /^#\/subsystem\/(.+)$/.exec(location.hash);
  page = named ? new Subsystem(decodeURIComponent(named[1])) : new Overview();
  $("main").replaceChildren(page.element);
  document.title = (named ? page.title + " – " : "") + "Mycelia";
  render();
}

function render() {
  const figures = state.figures;
  if (!figures) return;
  renderBar(figures);
  page.update(figures);
  const until = figures.time_ms;
  const from = until - 1000 * Number($("span").value);
  const looks = state.looks.filter((look) => look.time >= from);
  page.charts.forEach((chart) => chart.draw(looks, from, until));
  renderLink();
}

function renderBar(figures) {
  const { status } = figures;
  const down = Object.entries(status.subsystems).filter(([, one]) => one.phase !== "running" && one.phase !== "reloading");
  const health = $("health");
  say(health, figures.ready ? (down.length ? "ready, " + down.length + " down" : "ready") : "not ready");
  health.className = "pill " + (figures.ready ? (down.length ? "warn" : "good") : "bad");
  health.title = down.map(([name, one]) => name + " is " + one.phase).join(", ");
  say($("about"), location.host + " · up " + showSpan(status.uptime_s) + (status.config_changed ? " · the config file has changed: restart to take it up" : ""));
  say($("foot"), "Rates are of the last second; percentiles of sampled messages in the last 10 s, by at most a quarter too high." + (token.get() ? "" : " Without the token this page only looks."));
}

function hold(held) {
  state.held = held;
  $("pause").setAttribute("aria-pressed", String(held));
  say($("pause"), held ? "Go on" : "Pause");
  render();
}

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  localStorage.setItem("mycelia-theme", theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say($("theme"), "Theme: " + theme);
}

function keys(event) {
  if (event.key === "Escape" && event.target.id === "filter") event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || $("dialog").open) return;
  if (event.key === "p") hold(!state.held);
  else if (event.key === "/" && $("filter")) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape" && location.hash.startsWith("#/subsystem/")) location.hash = "#/";
}

takeToken();
setTheme(THEMES.includes(localStorage.getItem("mycelia-theme")) ? localStorage.getItem("mycelia-theme") : "auto");
$("pause").addEventListener("click", () => hold(!state.held));
$("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(localStorage.getItem("mycelia-theme")) + 1) % THEMES.length]));
$("span").addEventListener("change", render);
addEventListener("hashchange", () => {
  takeToken();
  renderPage();
});
addEventListener("keydown", keys);
addEventListener("resize", render);
document.addEventListener("visibilitychange", () => document.hidden || state.held || render());
setInterval(renderLink, 1000);
renderPage();
connect();
