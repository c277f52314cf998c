"use strict";
// The page of `cmbnet review`. The whole scan is loaded once, so slices are drawn without the
// server. The server is asked for each action, and the page shows one only when it is on the disk.

const PAUSE_MS = 30000; // a longer time without a key or a move of the mouse is a pause
const SAVE_TIME_MS = 15000;
const SLAB_MM = 6;
const MOST_STORED = 3; // scans that are kept in memory
const DRAG_PIXELS = 3; // a shorter drag is a click
const COLOURS = { open: "#ffb000", accept: "#57d08a", reject: "#b9a3ad", uncertain: "#6db3e0" };
const KINDS = { v: "vein", c: "calcification", x: "artefact", o: "other" };
// Rows and columns of the planes: axes of the array (superior, posterior, left). Superior is up.
const PLANES = [
  { across: 0, row: 1, column: 2, sides: ["R", "L"] },
  { across: 1, row: 0, column: 2, sides: ["R", "L"] },
  { across: 2, row: 0, column: 1, sides: ["A", "P"] },
];

const $ = (id) => document.getElementById(id);
const stored = new Map(); // number of a case -> promise of its pixels
const grey = new Uint32Array(65536);
const view = {
  at: [0, 0, 0], middle: [0, 0, 0], zoom: 1, low: 0, high: 65535, plane: 0,
  overlay: true, cross: true, slab: false, brush: false, phase: false,
};
let cohort = null;
let number = -1;
let shown = null; // what the server says of the case
let pixels = null;
let phase = null; // pixels of the phase, once they were asked for
let selected = null; // id of a mark
let waiting = Promise.resolve(); // actions are done one after the other
let active = 0;
let last = Date.now();

// ---- the server ----

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. What you did last is not saved. " +
      "Start cmbnet review again; it goes on where you were.");
  }
  if (!answer.ok) {
    const fault = new Error((await answer.json().catch(() => ({}))).error || answer.statusText);
    fault.status = answer.status;
    throw fault;
  }
  return answer;
}

function say(sentence) {
  $("message").textContent = sentence;
  $("message").hidden = !sentence;
}

function takeSeconds() {
  const seconds = active / 1000;
  active = 0;
  return seconds;
}

async function act(wish) {
  const body = { revision: shown.revision, seconds: takeSeconds(), ...wish };
  try {
    const answer = await ask(`cases/${number}`, { method: "POST", body: JSON.stringify(body) });
    Object.assign(shown, await answer.json());
    say("");
  } catch (fault) {
    active += body.seconds * 1000;
    say(`Not saved: ${fault.message}`);
    if (fault.status !== 409) throw fault;
    Object.assign(shown, await (await ask(`cases/${number}`)).json());
    list();
    throw fault;
  }
  list();
}

// Do one thing after the other, so that a fast key finds what the key before it has changed.
function inTurn(work) {
  waiting = waiting.then(work).catch((fault) => {
    if ($("message").hidden) say(fault.message);
  });
  return waiting;
}

function pixelsOf(n) {
  if (!stored.has(n)) {
    const got = ask(`cases/${n}/pixels`).then((answer) => answer.arrayBuffer())
      .then((buffer) => new Uint16Array(buffer));
    got.catch(() => stored.delete(n));
    stored.set(n, got);
    if (stored.size > MOST_STORED) stored.delete(stored.keys().next().value);
  }
  return stored.get(n);
}

// ---- cases ----

async function openCase(n) {
  if (n < 0 || n >= cohort.cases.length) return;
  if (shown && active) await act({ do: "time" }).catch(() => {});
  say("");
  const [answer, got] = await Promise.all([ask(`cases/${n}`), pixelsOf(n)]);
  shown = await answer.json();
  [number, pixels, active] = [n, got, 0];
  resetView();
  selected = null;
  select((shown.marks.find((mark) => !mark.judgement) || shown.marks[0] || {}).id);
  list();
  const next = nextCase();
  if (next >= 0) pixelsOf(next);
}

function nextCase() {
  for (let step = 1; step <= cohort.cases.length; step++) {
    const n = (number + step) % cohort.cases.length;
    if (!cohort.cases[n].finished && !cohort.cases[n].fault && n !== number) return n;
  }
  return -1;
}

async function finish() {
  const alone = shown.hidden;
  await act({ do: "finish" });
  if (alone && !shown.hidden) {
    select((shown.marks.find((mark) => !mark.judgement) || {}).id);
    list();
    return;
  }
  cohort.cases[number].finished = true;
  list();
  const next = nextCase();
  if (next >= 0) await openCase(next);
}

function list() {
  const done = cohort.cases.filter((one) => one.finished).length;
  if (shown) {
    cohort.cases[number].finished = shown.finished;
    cohort.cases[number].begun = shown.revision > 0;
    $("case-name").textContent = shown.name;
    $("undo").disabled = !shown.can_undo;
    fillNote("case-note", shown.note);
    fillNote("mark-note", (markOf(selected) || {}).note || "");
    $("hint").textContent = hint();
  }
  $("reader").textContent = `Reader ${cohort.reader}${cohort.blind ? ", blind" : ""}`;
  $("progress").textContent = `${done} of ${cohort.cases.length} cases finished`;
  $("bar").value = done / cohort.cases.length;
  const rows = cohort.cases.map((one, n) => {
    const row = document.createElement("li");
    row.textContent = one.name;
    row.title = one.fault || one.name;
    row.className = one.fault ? "fault" : one.finished ? "finished" : one.begun ? "begun" : "";
    row.classList.toggle("now", n === number);
    row.onclick = () => inTurn(() => openCase(n));
    return row;
  });
  $("cases").replaceChildren(...rows);
  $("marks").replaceChildren(...(shown ? shown.marks.map(rowOf) : []));
  document.querySelectorAll("li.now").forEach((row) => row.scrollIntoView({ block: "nearest" }));
  draw();
}

function fillNote(id, text) {
  if (document.activeElement !== $(id)) $(id).value = text; // else the reader is writing
}

function rowOf(mark) {
  const row = document.createElement("li");
  const facts = [`${mark.diameter_mm.toFixed(1)} mm`];
  if (mark.score !== null) facts.push(`score ${mark.score.toFixed(2)}`);
  if (mark.region && mark.region !== "unknown") facts.push(`${mark.region}, ${mark.side}`);
  const small = document.createElement("small");
  small.textContent = facts.join(" · ") + (mark.note ? ` · ${mark.note}` : "");
  row.textContent = `${mark.added ? "added " : ""}${mark.id}: ${wordsOf(mark)}`;
  row.append(small);
  row.dataset.mark = mark.id;
  row.className = mark.judgement || "";
  row.classList.toggle("now", mark.id === selected);
  row.onclick = () => { select(mark.id); list(); };
  return row;
}

function wordsOf(mark) {
  if (mark.judgement === "accept") return `microbleed, ${mark.certainty}`;
  if (mark.judgement === "reject") return `none: ${mark.kind}`;
  return mark.judgement || "no verdict yet";
}

function hint() {
  const open = shown.marks.filter((mark) => !mark.judgement).length;
  if (shown.hidden && !shown.finished) {
    return "The model's answer is hidden. Add what you see (right button or M), then press Enter.";
  }
  if (shown.finished) {
    return nextCase() < 0 && cohort.cases.every((one) => one.finished || one.fault)
      ? "This case is finished, and so are all others." : "This case is finished.";
  }
  if (open) return `Lesions without a verdict: ${open} of ${shown.marks.length}.`;
  return "Every lesion has a verdict. Add what was missed, then press Enter.";
}

const markOf = (id) => shown && shown.marks.find((mark) => mark.id === id);

function select(id) {
  selected = id || null;
  const mark = markOf(selected);
  if (!mark) return;
  view.at = [...mark.centre];
  if (view.zoom > 1) view.middle = [...mark.centre];
}

function step(by) {
  const marks = shown.marks;
  if (!marks.length) return;
  const now = marks.findIndex((mark) => mark.id === selected);
  select(marks[(now + by + marks.length) % marks.length].id);
  list();
}

async function judge(judgement, kind = null) {
  if (!markOf(selected)) return;
  await act({ do: "judge", mark: selected, judgement, kind });
  const marks = shown.marks;
  const now = marks.findIndex((mark) => mark.id === selected);
  const rest = [...marks.slice(now + 1), ...marks.slice(0, now)];
  const open = rest.find((mark) => !mark.judgement);
  if (open) select(open.id);
  list();
}

async function add(at) {
  const before = new Set(shown.marks.map((mark) => mark.id));
  await act({ do: "add", at });
  const added = shown.marks.find((mark) => !before.has(mark.id));
  if (added) selected = added.id;
  list();
}

// ---- drawing ----

const size = (axis) => shown.shape[axis];
const stride = (axis) => (axis === 0 ? size(1) * size(2) : axis === 1 ? size(2) : 1);

function resetView() {
  view.at = shown.shape.map((n) => Math.floor(n / 2));
  view.middle = [...view.at];
  view.zoom = 1;
  view.phase = press("phase", false);
  phase = null;
  $("phase").hidden = !shown.phase;
  resetWindow();
}

async function togglePhase() {
  if (!shown.phase) return;
  phase = phase || new Uint16Array(await (await ask(`cases/${number}/phase`)).arrayBuffer());
  view.phase = press("phase", !view.phase);
  resetWindow();
  draw();
}

function resetWindow() {
  if (view.phase) return setWindow(0, 65535);
  const sample = [];
  const every = Math.max(1, Math.floor(pixels.length / 20000));
  for (let n = 0; n < pixels.length; n += every) if (pixels[n] > 1500) sample.push(pixels[n]);
  sample.sort((a, b) => a - b);
  const at = (share) => sample[Math.floor(share * (sample.length - 1))] || 0;
  setWindow(0, Math.max(1, 1.1 * at(0.98)));
}

function setWindow(low, high) {
  [view.low, view.high] = [low, Math.max(low + 50, high)];
  const scale = 255 / (view.high - view.low);
  for (let n = 0; n < grey.length; n++) {
    const shade = Math.max(0, Math.min(255, (n - view.low) * scale)) | 0;
    grey[n] = 0xff000000 | (shade << 16) | (shade << 8) | shade;
  }
}

// Where a plane lies on its canvas: pixels of the canvas for a voxel, and the first corner.
function place(plane) {
  const { row, column } = PLANES[plane];
  const canvas = $(`plane${plane}`);
  const mm = shown.spacing_mm;
  const fit = Math.min(canvas.width / (size(column) * mm[column]),
    canvas.height / (size(row) * mm[row]));
  const [wide, high] = [mm[column] * fit * view.zoom, mm[row] * fit * view.zoom];
  const middle = row === 0 ? size(0) - 1 - view.middle[0] : view.middle[row];
  const whole = view.zoom === 1;
  return {
    wide, high,
    left: canvas.width / 2 - (whole ? size(column) / 2 : view.middle[column] + 0.5) * wide,
    top: canvas.height / 2 - (whole ? size(row) / 2 : middle + 0.5) * high,
  };
}

const lines = (row, n) => (row === 0 ? size(0) - 1 - n : n); // superior is up

let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    if (shown) for (let plane = 0; plane < 3; plane++) drawPlane(plane);
  });
}

const sheets = [0, 1, 2].map(() => document.createElement("canvas"));

function drawPlane(plane) {
  const { row, column } = PLANES[plane];
  const canvas = $(`plane${plane}`);
  const dense = window.devicePixelRatio || 1;
  const [wide, high] = [canvas.clientWidth * dense | 0, canvas.clientHeight * dense | 0];
  if (canvas.width !== wide || canvas.height !== high) {
    Object.assign(canvas, { width: wide, height: high });
  }
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, wide, high);
  const sheet = sheets[plane];
  const [w, h] = [size(column), size(row)];
  if (sheet.width !== w || sheet.height !== h) Object.assign(sheet, { width: w, height: h });
  const painter = sheet.getContext("2d");
  const image = painter.createImageData(w, h);
  fill(new Uint32Array(image.data.buffer), plane);
  painter.putImageData(image, 0, 0);
  const where = place(plane);
  context.imageSmoothingQuality = "high";
  context.drawImage(sheet, where.left, where.top, w * where.wide, h * where.high);
  if (view.overlay) for (const mark of shown.marks) outline(context, plane, where, mark);
  if (view.cross) cross(context, plane, where);
  letter(context, plane, where, dense);
  canvas.classList.toggle("now", plane === view.plane);
}

function fill(out, plane) {
  const { across, row, column } = PLANES[plane];
  const [rows, columns, up, right] = [size(row), size(column), stride(row), stride(column)];
  const half = view.slab ? Math.max(1, Math.round(SLAB_MM / 2 / shown.spacing_mm[across])) : 0;
  const first = Math.max(0, view.at[across] - half);
  const end = Math.min(size(across) - 1, view.at[across] + half);
  const deep = stride(across);
  const values = view.phase ? phase : pixels;
  let to = 0;
  for (let y = 0; y < rows; y++) {
    let from = lines(row, y) * up + first * deep;
    for (let x = 0; x < columns; x++, from += right) {
      let least = values[from];
      for (let n = first + 1, at = from + deep; n <= end; n++, at += deep) {
        if (values[at] < least) least = values[at];
      }
      out[to++] = grey[least];
    }
  }
}

function outline(context, plane, where, mark) {
  const { across, row, column } = PLANES[plane];
  const own = new Set();
  for (const flat of mark.voxels) {
    const index = unravel(flat);
    if (index[across] === view.at[across]) own.add(lines(row, index[row]) * size(column) + index[column]);
  }
  if (!own.size) return;
  context.strokeStyle = context.fillStyle = COLOURS[mark.judgement || "open"];
  context.lineWidth = (mark.id === selected ? 2.5 : 1.25) * (window.devicePixelRatio || 1);
  context.setLineDash(mark.judgement === "reject" ? [4, 3] : []);
  context.beginPath();
  let [most, top] = [0, Infinity];
  for (const spot of own) {
    const x = spot % size(column);
    const y = (spot - x) / size(column);
    const [x0, y0] = [where.left + x * where.wide, where.top + y * where.high];
    const [x1, y1] = [x0 + where.wide, y0 + where.high];
    const edge = (inside, ...ends) => {
      if (inside) return;
      context.moveTo(ends[0], ends[1]);
      context.lineTo(ends[2], ends[3]);
    };
    edge(own.has(spot - size(column)), x0, y0, x1, y0);
    edge(own.has(spot + size(column)), x0, y1, x1, y1);
    edge(x > 0 && own.has(spot - 1), x0, y0, x0, y1);
    edge(x < size(column) - 1 && own.has(spot + 1), x1, y0, x1, y1);
    [most, top] = [Math.max(most, x1), Math.min(top, y0)];
  }
  context.stroke();
  context.setLineDash([]);
  context.font = `${12 * (window.devicePixelRatio || 1)}px sans-serif`;
  write(context, mark.id, most + 3, top);
}

function cross(context, plane, where) {
  const { row, column } = PLANES[plane];
  const x = where.left + (view.at[column] + 0.5) * where.wide;
  const y = where.top + (lines(row, view.at[row]) + 0.5) * where.high;
  const gap = 14 * (window.devicePixelRatio || 1);
  const { width, height } = context.canvas;
  context.strokeStyle = "rgba(86, 180, 233, .6)";
  context.lineWidth = 1;
  context.beginPath();
  for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap],
    [x, y + gap, x, height]]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  context.stroke();
}

function letter(context, plane, where, dense) {
  const { across, row, column, sides } = PLANES[plane];
  const { width, height } = context.canvas;
  context.fillStyle = "#ebebeb";
  context.font = `${13 * dense}px sans-serif`;
  write(context, sides[0], 5 * dense, height / 2);
  write(context, sides[1], width - 15 * dense, height / 2);
  write(context, row === 0 ? "S" : "A", width / 2 + 6 * dense, 14 * dense);
  const slab = view.slab ? `, darkest of ${SLAB_MM} mm` : "";
  const what = view.phase ? "phase, " : "";
  write(context, `${what}slice ${view.at[across] + 1} of ${size(across)}${slab}`, 5 * dense, 14 * dense);
  const bar = 20 / shown.spacing_mm[column] * where.wide;
  context.fillRect(width - bar - 8 * dense, height - 8 * dense, bar, 2 * dense);
  write(context, "20 mm", width - 50 * dense, height - 13 * dense);
}

function write(context, text, x, y) {
  context.strokeStyle = "#000";
  context.lineWidth = 3 * (window.devicePixelRatio || 1);
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

function unravel(flat) {
  const x = flat % size(2);
  const rest = (flat - x) / size(2);
  const y = rest % size(1);
  return [(rest - y) / size(1), y, x];
}

// ---- mouse ----

function voxelAt(plane, event) {
  const { row, column } = PLANES[plane];
  const dense = window.devicePixelRatio || 1;
  const where = place(plane);
  const voxel = [...view.at];
  voxel[column] = Math.floor((event.offsetX * dense - where.left) / where.wide);
  voxel[row] = lines(row, Math.floor((event.offsetY * dense - where.top) / where.high));
  return voxel.every((n, axis) => n >= 0 && n < size(axis)) ? voxel : null;
}

let drag = null;

function down(plane, event) {
  if (!shown) return;
  view.plane = plane;
  document.activeElement.blur();
  if (event.button === 2) {
    const at = voxelAt(plane, event);
    if (at) inTurn(() => add(at));
    return;
  }
  event.target.setPointerCapture(event.pointerId);
  const mark = view.brush && markOf(selected);
  drag = { x: event.clientX, y: event.clientY, low: view.low, high: view.high, moved: false,
    middle: [...view.middle], painted: mark ? new Set(mark.voxels) : null };
  if (drag.painted) paint(plane, event);
}

function move(plane, event) {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  drag.moved = drag.moved || Math.hypot(dx, dy) > DRAG_PIXELS;
  if (drag.painted) return paint(plane, event);
  if (!drag.moved) return;
  if (event.shiftKey) {
    pan(plane, dx, dy);
  } else {
    const width = (drag.high - drag.low) * Math.exp(dx / 250);
    const level = (drag.high + drag.low) / 2 - dy * (drag.high - drag.low) / 400;
    setWindow(level - width / 2, level + width / 2);
  }
  draw();
}

function up(plane, event) {
  const ended = drag;
  drag = null;
  if (!ended) return;
  if (ended.painted) {
    inTurn(() => act({ do: "paint", mark: selected, voxels: [...ended.painted] }));
  } else if (!ended.moved) {
    const at = voxelAt(plane, event);
    if (at) view.at = at;
  }
  draw();
}

function paint(plane, event) {
  const at = voxelAt(plane, event);
  const mark = markOf(selected);
  if (!at || !mark) return;
  const flat = at[0] * stride(0) + at[1] * stride(1) + at[2];
  if (event.shiftKey) drag.painted.delete(flat);
  else drag.painted.add(flat);
  mark.voxels = [...drag.painted];
  draw();
}

function pan(plane, dx, dy) {
  if (view.zoom === 1) return;
  const { row, column } = PLANES[plane];
  const dense = window.devicePixelRatio || 1;
  const where = place(plane);
  view.middle[column] = drag.middle[column] - dx * dense / where.wide;
  view.middle[row] = drag.middle[row] + (row === 0 ? 1 : -1) * dy * dense / where.high;
}

function wheel(plane, event) {
  event.preventDefault();
  if (!shown) return;
  view.plane = plane;
  if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.25 : 0.8);
  else slice(plane, event.deltaY < 0 ? 1 : -1);
}

function zoom(by) {
  if (view.zoom === 1) view.middle = [...view.at];
  view.zoom = Math.min(16, Math.max(1, view.zoom * by));
  if (view.zoom < 1.05) view.zoom = 1;
  draw();
}

function slice(plane, by) {
  nudge(PLANES[plane].across, by);
}

function nudge(axis, by) {
  view.at[axis] = Math.min(size(axis) - 1, Math.max(0, view.at[axis] + by));
  draw();
}

// ---- keys ----

const looks = {
  "h": () => { view.overlay = press("overlay", !view.overlay); },
  "l": () => { view.cross = !view.cross; },
  "s": () => { view.slab = press("slab", !view.slab); },
  "b": () => { view.brush = press("brush", !view.brush); },
  "w": resetWindow,
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8),
  "0": () => { view.zoom = 1; },
  "1": () => { view.plane = 0; }, "2": () => { view.plane = 1; }, "3": () => { view.plane = 2; },
  "PageUp": () => slice(view.plane, 1), "PageDown": () => slice(view.plane, -1),
  "?": () => ($("keys").open ? $("keys").close() : $("keys").showModal()),
  "Escape": () => $("keys").close(),
  "t": () => $("mark-note").focus(), "y": () => $("case-note").focus(),
};

const deeds = {
  "a": () => judge("accept"),
  "u": () => judge("uncertain"),
  "n": () => step(1), "p": () => step(-1),
  "m": () => add(view.at),
  ".": () => markOf(selected) && act({ do: "resize", mark: selected, wider: true }),
  ",": () => markOf(selected) && act({ do: "resize", mark: selected, wider: false }),
  "d": () => {
    const mark = markOf(selected);
    const certainty = mark && mark.certainty === "definite" ? "possible" : "definite";
    return mark && act({ do: "certainty", mark: selected, certainty });
  },
  "Delete": async () => {
    if (!markOf(selected)) return;
    await act({ do: "remove", mark: selected });
    select((shown.marks[0] || {}).id);
    list();
  },
  "z": async () => {
    await act({ do: "undo" });
    if (!markOf(selected)) selected = null;
    list();
  },
  "f": togglePhase,
  "Enter": finish,
  "[": () => openCase(number - 1), "]": () => openCase(number + 1),
};
for (const [key, kind] of Object.entries(KINDS)) deeds[key] = () => judge("reject", kind);

const arrows = {
  ArrowLeft: ["column", -1], ArrowRight: ["column", 1], ArrowUp: ["row", -1], ArrowDown: ["row", 1],
};

function press(id, on) {
  $(id).setAttribute("aria-pressed", on);
  return on;
}

function key(name, shift) {
  const low = name.length === 1 ? name.toLowerCase() : name;
  if (looks[low]) {
    looks[low]();
    draw();
  } else if (arrows[name] && shown) {
    const [side, by] = arrows[name];
    const axis = PLANES[view.plane][side];
    nudge(axis, by * (shift ? 10 : 1) * (side === "row" && axis === 0 ? -1 : 1));
  } else if (deeds[low] && cohort) {
    if (shown || low === "[" || low === "]") inTurn(deeds[low]);
  } else {
    return false;
  }
  return true;
}

function onKey(event) {
  const field = event.target.closest("textarea");
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (event.altKey || event.metaKey || (event.ctrlKey && event.key !== "z")) return;
  if (event.target.closest("button") && ["Enter", " "].includes(event.key)) event.target.blur();
  if ($("keys").open && !["?", "Escape"].includes(event.key)) return;
  if (key(event.key, event.shiftKey)) event.preventDefault();
}

// ---- time ----

function touch() {
  const now = Date.now();
  if (!document.hidden && now > last && now - last < PAUSE_MS) active += now - last;
  last = now;
}

// ---- start ----

async function start() {
  for (const name of ["pointerdown", "pointermove", "wheel", "keydown"]) {
    document.addEventListener(name, touch, { capture: true, passive: true });
  }
  document.addEventListener("visibilitychange", () => { last = Date.now(); });
  document.addEventListener("keydown", onKey);
  document.querySelectorAll("button").forEach((button) => {
    button.onclick = () => { button.blur(); key(button.dataset.key, false); };
  });
  PLANES.forEach((_, plane) => {
    const canvas = $(`plane${plane}`);
    canvas.addEventListener("pointerdown", (event) => down(plane, event));
    canvas.addEventListener("pointermove", (event) => move(plane, event));
    canvas.addEventListener("pointerup", (event) => up(plane, event));
    canvas.addEventListener("wheel", (event) => wheel(plane, event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  });
  new ResizeObserver(draw).observe($("planes"));
  let noted = null;
  $("mark-note").onfocus = () => inTurn(() => { noted = selected; });
  $("mark-note").onchange = () => {
    const text = $("mark-note").value;
    inTurn(() => (noted ? act({ do: "mark_note", mark: noted, text })
      : say("Not saved: choose a lesion before you write a note on it.")));
  };
  $("case-note").onchange = () => {
    const text = $("case-note").value;
    inTurn(() => act({ do: "note", text }));
  };
  setInterval(() => {
    if (shown && active > 1000) inTurn(() => act({ do: "time" }));
  }, SAVE_TIME_MS);
  cohort = await (await ask("cases")).json();
  $("notice").textContent = cohort.notice;
  $("version").textContent = `cmbnet ${cohort.version}`;
  list();
  const first = nextCase();
  await openCase(first >= 0 ? first : 0);
}

start().catch((fault) => say(fault.message));
