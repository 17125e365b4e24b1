// The panel beside the map, its buttons and keys, files, and messages.
const element = id => document.getElementById(id);
const order = data.boxes.map(box => box.id);
let refused = null; // box that was not finished because predicted polygons have no verdict; a second time rejects them

function render() {
  drawFeatures();
  if (mode == "reshape") {
    if (layers.has(selected)) reshape();
    else mode = null;
  }
  showPanel();
}

function showPanel() {
  const work = state.boxes[current],
    counts = count(work),
    finished = order.filter(id => state.boxes[id].finished).length;
  element("progress").max = order.length;
  element("progress").value = finished;
  element("progress_text").textContent =
    `${finished} of ${order.length} boxes finished, ${order.length - finished} left`;
  element("box_title").textContent = `Box ${order.indexOf(current) + 1} of ${order.length}`;
  const finishedBy = `finished${work.by ? ` by ${work.by}` : ""}`;
  element("box_state").textContent = work.finished ? finishedBy : work.when ? "begun" : "not begun";
  element("box_state").className = work.finished ? "finished" : "";
  for (const [name, number] of Object.entries(counts)) element(name).textContent = number;
  element("finish").textContent = work.finished ? "Open the box again" : "Finish the box";
  element("finish").classList.toggle("strong", !work.finished);
  showSelection(work.features.find(each => each.id == selected));
  for (const name of Object.keys(MODES)) element(name).setAttribute("aria-pressed", String(mode == name));
  for (const name of Object.keys(shown))
    if (element(`show_${name}`)) element(`show_${name}`).setAttribute("aria-pressed", String(shown[name]));
  element("undo").disabled = !undoable.length && mode != "draw" && mode != "hole";
  element("done").hidden = !mode;
  element("hint").textContent = mode ? MODES[mode] : "";
  element("save").textContent = state === saved && toFile(state).boxes.length ? "Saved" : "Save";
  element("save").classList.toggle("unsaved", state !== saved);
  element("storage").hidden = !storageFails;
  showOverview();
}

function showSelection(feature) {
  let text = "No polygon is selected.";
  if (feature) {
    const polygon = boxes.get(current).predicted.find(each => each.id == feature.id);
    const source = feature.source[0].toUpperCase() + feature.source.slice(1);
    const probability = polygon ? `, mean probability ${polygon.confidence.toFixed(2)}` : "";
    text = `${source}${probability}: ${feature.verdict || "not judged yet"}`;
  }
  element("selection").textContent = text;
  for (const button of document.querySelectorAll("[data-needs=polygon]")) button.disabled = !feature;
  for (const button of document.querySelectorAll("[data-verdict]"))
    button.setAttribute("aria-pressed", String(Boolean(feature) && feature.verdict == button.dataset.verdict));
}

function showOverview() {
  const [height, width] = data.shape,
    svg = element("overview_boxes");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    ...data.boxes.map(box => {
      const [top, left, bottom, right] = box.box,
        work = state.boxes[box.id];
      const shape = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const least = Math.max(width, height) / 60,
        side = Math.max(bottom - top, least);
      Object.entries({x: (left + right - side) / 2, y: (top + bottom - side) / 2, width: side, height: side}).forEach(
        ([name, value]) => shape.setAttribute(name, value),
      );
      shape.setAttribute(
        "class",
        `${work.finished ? "finished" : work.when ? "begun" : ""} ${box.id == current ? "current" : ""}`,
      );
      shape.addEventListener("click", () => showBox(box.id));
      return shape;
    }),
  );
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
  clearTimeout(say.timer);
  if (text) say.timer = setTimeout(() => say(""), 9000);
}

// ---------------------------------------------------------------------- actions

function judge(verdict) {
  const features = state.boxes[current].features,
    at = features.findIndex(each => each.id == selected);
  if (at < 0) return say("Select a polygon first: click it, or press J.");
  leaveMode();
  const wasOpen = !features[at].verdict;
  changeFeatures(current, all => all.map((each, i) => (i == at ? {...each, verdict} : each)));
  const next = [...features.slice(at + 1), ...features.slice(0, at)].find(each => !each.verdict);
  select(wasOpen ? (next ? next.id : null) : features[at].id);
}

function finish() {
  leaveMode();
  const work = state.boxes[current],
    {unjudged} = count(work);
  if (work.finished) {
    changeBox(current, {...withPredicted(boxes.get(current), work), finished: false});
  } else if (unjudged && refused != current) {
    refused = current;
    say(`${unjudged} predicted polygons have no verdict. Judge them, or finish again to call all of them ${OTHER}.`);
    return;
  } else {
    const features = work.features.map(each => (each.verdict ? each : {...each, verdict: OTHER}));
    changeBox(current, {features, finished: true});
    selected = null;
    say(
      order.every(id => state.boxes[id].finished)
        ? "All boxes are finished: save the file."
        : "The box is finished: go on to the next one.",
    );
  }
  refused = null;
  render();
}

function step(by) {
  refused = null;
  showBox(order[(order.indexOf(current) + by + order.length) % order.length]);
}

function selectNext(by) {
  const ids = state.boxes[current].features.map(each => each.id);
  if (!ids.length) return;
  leaveMode();
  const at = ids.indexOf(selected);
  select(ids[at < 0 ? (by > 0 ? 0 : ids.length - 1) : (at + by + ids.length) % ids.length]);
}

function takeBack() {
  const drawing = mode == "draw" || mode == "hole" ? map.pm.Draw.Polygon : null;
  if (drawing && drawing._layer.getLatLngs().length) return drawing._removeLastVertex();
  leaveMode();
  const former = undo();
  if (!former) return say("There is nothing to undo.");
  if (former.boxId && former.boxId != current) showBox(former.boxId);
  if (!state.boxes[current].features.some(each => each.id == selected)) selected = null;
  render();
}

function done() {
  if (mode != "draw" && mode != "hole") return leaveMode();
  map.pm.Draw.Polygon._finishShape();
  if (mode) say("An outline needs three corners: set more, or leave with Esc.");
}

function toggle(name) {
  if (!element(`show_${name}`)) return;
  shown[name] = !shown[name];
  if (name == "relief" && shown.relief) shown.before = false;
  if (name == "before" && shown.before) shown.relief = false;
  showLayers();
  showPanel();
}

// ---------------------------------------------------------------------- files

function save() {
  leaveMode();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(toFile(state))], {type: "application/geo+json"}));
  link.download = `${data.scene.name}_labels.geojson`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = state;
  keepInBrowser();
  say(`Saved as ${link.download}, in the folder of your downloads.`);
  render();
}

async function open(file) {
  try {
    const {state: next, counts} = joined(state, fromFile(JSON.parse(await file.text())));
    replaceState(next, null);
    const conflicts = counts.kept + counts.replaced;
    say(
      `${file.name}: boxes added: ${counts.taken}` +
        (conflicts
          ? `; boxes that differ from yours: ${conflicts}, of which ` +
            `${counts.replaced} are taken from the file (finished before unfinished, then the later one)`
          : "") +
        ".",
    );
    showBox(current);
  } catch (error) {
    if (!(error instanceof WrongFile || error instanceof SyntaxError || error instanceof TypeError)) throw error;
    say(`${file.name} cannot be opened: ${error instanceof WrongFile ? error.message : "it is damaged"}.`);
  }
}

// ---------------------------------------------------------------------- buttons and keys

const ACTIONS = {
  accept: () => judge(LANDSLIDE),
  reject: () => judge(OTHER),
  doubtful: () => judge(UNSURE),
  draw: () => (mode == "draw" ? leaveMode() : enterMode("draw")),
  reshape: () => (mode == "reshape" ? leaveMode() : enterMode("reshape")),
  hole: () => (mode == "hole" ? leaveMode() : enterMode("hole")),
  remove: () => {
    leaveMode();
    layers.has(selected) ? removeFeature(selected) : say("Select a polygon first: click it, or press J.");
  },
  undo: takeBack,
  done,
  finish,
  save,
  fit: fitBox,
  open: () => element("file").click(),
  next: () => step(1),
  previous: () => step(-1),
  next_polygon: () => selectNext(1),
  previous_polygon: () => selectNext(-1),
  show_before: () => toggle("before"),
  show_relief: () => toggle("relief"),
  show_probability: () => toggle("probability"),
  show_outlines: () => toggle("outlines"),
  help: () => element("help_text").showModal(),
  leave: () => {
    if (mode) leaveMode();
    else select(null);
  },
};
const KEYS = {
  a: "accept",
  x: "reject",
  u: "doubtful",
  d: "draw",
  e: "reshape",
  c: "hole",
  delete: "remove",
  backspace: "remove",
  z: "undo",
  enter: "done",
  escape: "leave",
  f: "finish",
  n: "next",
  p: "previous",
  arrowright: "next",
  arrowleft: "previous",
  j: "next_polygon",
  k: "previous_polygon",
  b: "show_before",
  s: "show_relief",
  m: "show_probability",
  v: "show_outlines",
  0: "fit",
  "?": "help",
  "ctrl+z": "undo",
  "ctrl+s": "save",
  "ctrl+o": "open",
};

document.addEventListener("keydown", event => {
  const text = event.target.matches("input[type=text]"),
    control = event.ctrlKey || event.metaKey;
  if (event.altKey || element("help_text").open || text) return;
  const key = event.key.toLowerCase();
  if (
    event.target.matches("button, summary, input") &&
    ["enter", " ", "arrowleft", "arrowright"].includes(key) &&
    !mode
  )
    return;
  const action = KEYS[(control ? "ctrl+" : "") + key];
  if (!action) return;
  event.preventDefault();
  ACTIONS[action]();
});
for (const [name, action] of Object.entries(ACTIONS))
  if (element(name)) element(name).addEventListener("click", action);
element("file").addEventListener("change", event => {
  if (event.target.files.length) open(event.target.files[0]);
  event.target.value = "";
});
element("by").value = stored(NAME_KEY) || "";
element("by").addEventListener("change", () => store(NAME_KEY, element("by").value.trim()));
element("brightness").addEventListener("input", event => {
  for (const name of ["after", "before"]) map.getPane(name).style.filter = `brightness(${event.target.value}%)`;
});
element("overview_picture").src = data.overview;
window.addEventListener("beforeunload", event => {
  if (state !== saved) event.preventDefault();
});
window.addEventListener("resize", () => {
  map.invalidateSize();
});
window.addEventListener("storage", event => {
  if (event.key == KEY) say("This scene is open in another window, too. Work in one of them: the last one is kept.");
});
try {
  restoreFromBrowser();
} catch {
  say("What this browser kept of your work cannot be read: open a saved file.");
}
showBox(order.find(id => !state.boxes[id].finished) || order[0]);
