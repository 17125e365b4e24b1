// What the person has done: a value that is never changed but replaced, so that a former one can be brought back.
// state = {boxes: {id: {finished, when, by, features: [{id, verdict, source, rings}]}}, others: boxes of other pages}
const KEY = `landslide-desk ${data.scene.digests.join(" ")}`;
const NAME_KEY = "landslide-desk name";
let state = emptyState(),
  saved = state,
  undoable = [],
  storageFails = false;

function emptyState() {
  const untouched = {finished: false, when: null, by: "", features: []};
  return {boxes: Object.fromEntries(data.boxes.map(box => [box.id, withPredicted(box, untouched)])), others: {}};
}

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    storageFails = true;
    return null;
  }
}

function store(key, text) {
  try {
    localStorage.setItem(key, text);
    storageFails = false;
  } catch {
    storageFails = true;
  }
}

function keepInBrowser() {
  store(KEY, JSON.stringify({unsaved: state !== saved, file: toFile(state)}));
}

function restoreFromBrowser() {
  const text = stored(KEY);
  if (!text) return store(NAME_KEY, stored(NAME_KEY) || ""); // shows whether the browser keeps anything
  const {unsaved, file} = JSON.parse(text);
  state = joined(state, fromFile(file)).state;
  saved = unsaved ? null : state;
}

function replaceState(next, boxId) {
  undoable.push({state, boxId});
  state = next;
  keepInBrowser();
}

// Every action of a person changes one box.
function changeBox(id, change) {
  const by = document.getElementById("by").value.trim();
  const work = {...state.boxes[id], ...change, when: new Date().toISOString(), by};
  replaceState({...state, boxes: {...state.boxes, [id]: work}}, id);
}

function changeFeatures(id, change) {
  changeBox(id, {features: change(state.boxes[id].features)});
}

function undo() {
  const former = undoable.pop();
  if (!former) return null;
  state = former.state;
  keepInBrowser();
  return former;
}

function count(work) {
  const of = verdict => work.features.filter(feature => feature.verdict == verdict).length;
  return {landslides: of(LANDSLIDE), others: of(OTHER), unsure: of(UNSURE), unjudged: of(null)};
}
