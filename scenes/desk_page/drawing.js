// The map of one box: its pictures, its polygons, and the modes in which they are drawn and changed.
const COLOURS = {[LANDSLIDE]: "#ff3b30", [OTHER]: "#b9c0c7", [UNSURE]: "#ffb000", null: "#00d5ff", drawing: "#ff3b30"};
const DASHES = {[OTHER]: "2 5", [UNSURE]: "8 5", null: "5 4"};
const ORDER = [OTHER, UNSURE, null, LANDSLIDE]; // the last is on top
const FINISHED = "#35c46a";
const OVERLAYS = ["before", "relief", "cover", "probability"]; // above the picture after the event, in this order
const MODES = {
  draw: "Set the corners of a landslide. Enter, Done or the first corner closes it; Z takes a corner back, Esc leaves.",
  hole: "Draw a hole into the selected polygon. Enter, Done or the first corner closes it; Esc leaves.",
  reshape: "Drag corners; drag a middle to add one; right-click or long press removes one. Enter or Done ends.",
};

const map = L.map("map", {
  crs: L.CRS.Simple,
  minZoom: -4,
  maxZoom: 7,
  zoomSnap: 0,
  zoomDelta: 0.5,
  wheelPxPerZoomLevel: 100,
  zoomControl: false,
  keyboard: false,
  doubleClickZoom: false,
  bounceAtZoomLimits: false,
});
map.attributionControl.setPrefix("Leaflet, Geoman");
L.control.zoom({position: "topright"}).addTo(map);
map.pm.setGlobalOptions({snappable: false, limitMarkersToCount: 40});
["after", ...OVERLAYS, "around"].forEach((name, i) => {
  map.createPane(name).style.zIndex = 200 + 10 * i;
});

let current = data.boxes[0].id,
  selected = null,
  mode = null,
  around = L.layerGroup().addTo(map);
let pictures = {},
  layers = new Map();
const shown = {before: false, relief: false, cover: true, probability: false, outlines: true};

const toLatLng = ([column, row]) => [-row, column];
const boundsOf = ([top, left, bottom, right]) => [
  [-bottom, left],
  [-top, right],
];

function toRings(latLngs) {
  // of one polygon; kept within the picture, where its place on the ground is known
  const [top, left, bottom, right] = boxes.get(current).window;
  const within = (value, low, high) => toStep(Math.min(Math.max(value, low), high));
  return latLngs.map(ring => ring.map(({lat, lng}) => [within(lng, left, right), within(-lat, top, bottom)]));
}

// ---------------------------------------------------------------------- what is shown

function showBox(id) {
  leaveMode();
  current = id;
  const box = boxes.get(id),
    bounds = boundsOf(box.window),
    [top, left, bottom, right] = box.box;
  for (const picture of Object.values(pictures)) picture.remove();
  pictures = {};
  for (const name of ["after", ...OVERLAYS])
    if (box.pictures[name])
      pictures[name] = L.imageOverlay(box.pictures[name], bounds, {pane: name, pmIgnore: true, alt: name}).addTo(map);
  around.clearLayers();
  const corners = [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ].map(toLatLng);
  const far = L.latLngBounds(bounds).pad(20),
    outside = [far.getSouthWest(), far.getNorthWest(), far.getNorthEast(), far.getSouthEast()];
  const style = {pane: "around", interactive: false, pmIgnore: true};
  L.polygon([outside, corners], {...style, stroke: false, fillColor: "#111", fillOpacity: 0.45}).addTo(around);
  around.outline = L.polygon(corners, {...style, color: "white", weight: 2, fill: false}).addTo(around);
  fitBox();
  showLayers();
  const first = state.boxes[id].features.find(feature => !feature.verdict && !state.boxes[id].finished);
  select(first ? first.id : null);
}

function fitBox() {
  map.fitBounds(boundsOf(boxes.get(current).box), {padding: [14, 14], animate: false});
}

function showLayers() {
  for (const [name, picture] of Object.entries(pictures))
    picture.setOpacity(name == "after" || shown[name] ? (name == "probability" ? 0.65 : 1) : 0);
  map.getPane("overlayPane").style.visibility = shown.outlines ? "" : "hidden";
}

function styleOf({id, verdict}) {
  const chosen = id == selected;
  return {
    color: COLOURS[verdict],
    dashArray: chosen ? null : DASHES[verdict],
    weight: chosen ? 4 : 2.2,
    fillOpacity: verdict == LANDSLIDE ? 0.12 : chosen ? 0.06 : 0.02,
    className: chosen ? "polygon chosen" : "polygon",
  };
}

function drawFeatures() {
  for (const layer of layers.values()) layer.remove();
  layers = new Map();
  const work = state.boxes[current],
    rank = feature => (feature.id == selected ? 9 : ORDER.indexOf(feature.verdict));
  for (const feature of [...work.features].sort((a, b) => rank(a) - rank(b))) {
    const layer = L.polygon(
      feature.rings.map(ring => ring.map(toLatLng)),
      styleOf(feature),
    ).addTo(map);
    layer.on("click", event => {
      if (mode == "draw" || mode == "hole") return; // a corner, which Geoman sets
      L.DomEvent.stopPropagation(event);
      if (mode != "reshape" || feature.id != selected) {
        leaveMode();
        select(feature.id);
      }
    });
    layers.set(feature.id, layer);
  }
  around.outline.setStyle({color: work.finished ? FINISHED : "white"});
}

function select(id) {
  selected = id;
  render();
}

map.on("click", () => {
  if (!mode && selected) select(null);
});

// ---------------------------------------------------------------------- modes

function enterMode(name) {
  leaveMode();
  if (name != "draw" && !layers.has(selected)) return say("Select a polygon first: click it, or press J.");
  shown.outlines = true;
  showLayers();
  mode = name;
  if (name == "reshape") reshape();
  else {
    const line = {color: name == "draw" ? COLOURS.drawing : "#ffffff", weight: 2};
    map.pm.enableDraw("Polygon", {
      tooltips: false,
      templineStyle: line,
      hintlineStyle: {...line, dashArray: "4 5"},
      pathOptions: line,
      cursorMarker: false,
      snappable: false,
      snapDistance: 9, // to the first corner, in pixels of the screen
    });
  }
  render();
}

function leaveMode() {
  if (!mode) return;
  mode = null;
  map.pm.disableDraw();
  for (const layer of layers.values()) layer.pm.disable();
  render();
}

function reshape() {
  const layer = layers.get(selected),
    id = selected;
  layer.pm.enable({snappable: false, limitMarkersToCount: 40});
  layer.on("pm:edit", () => {
    if (mode != "reshape" || id != selected) return;
    const parts = simpleParts(toRings(layer.getLatLngs()));
    replaceFeature(id, parts);
    if (parts.length == 1) return showPanel();
    leaveMode();
    say("The outline crossed itself, and was cut where it does.");
  });
}

map.on("pm:create", ({layer}) => {
  layer.remove();
  if (mode == "draw") {
    const id = `drawn-${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
    const parts = simpleParts(toRings(layer.getLatLngs()));
    changeFeatures(current, all => [...all, ...withParts({id, verdict: LANDSLIDE, source: "drawn"}, parts)]);
    selected = id;
  } else {
    const parts = difference(L.polygon(layers.get(selected).getLatLngs()), layer);
    if (parts.length) replaceFeature(selected, parts);
    else removeFeature(selected);
  }
  leaveMode();
  render();
});

// ---------------------------------------------------------------------- outlines

function difference(layer, hole) {
  // rings of each polygon that is left; Geoman's own function, which returns GeoJSON
  const rest = map.pm.Draw.Cut._cutLayer(hole, layer);
  const polygons = !rest
    ? []
    : rest.geometry.type == "Polygon"
      ? [rest.geometry.coordinates]
      : rest.geometry.coordinates;
  return polygons.map(rings => toRings(rings.map(ring => ring.slice(0, -1).map(([lng, lat]) => ({lat, lng})))));
}

// Geoman can refuse a corner at which an outline crosses itself, but without a word. Here it is cut at the crossing.
function crosses(rings) {
  const sides = rings.flatMap(ring => ring.map((point, i) => [point, ring[(i + 1) % ring.length]]));
  const turn = ([ax, ay], [bx, by], [cx, cy]) => Math.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax));
  return sides.some(([a, b], i) =>
    sides.slice(i + 1).some(([c, d]) => turn(a, b, c) * turn(a, b, d) < 0 && turn(c, d, a) * turn(c, d, b) < 0),
  );
}

function simpleParts(rings) {
  if (!crosses(rings)) return [rings];
  const nothing = L.polygon([
    [1e6, 1e6],
    [1e6, 1e6 + 1],
    [1e6 + 1, 1e6],
  ]);
  return difference(L.polygon(rings.map(ring => ring.map(toLatLng))), nothing);
}

const withParts = (feature, parts) =>
  parts.map((rings, part) => ({...feature, id: part ? `${feature.id}+${part}` : feature.id, rings}));

function replaceFeature(id, parts) {
  changeFeatures(current, all =>
    all.flatMap(each => (each.id == id ? withParts({...each, verdict: LANDSLIDE}, parts) : [each])),
  );
}

// A predicted polygon cannot be deleted, only called no landslide: the file then says that it was judged.
function removeFeature(id) {
  const feature = state.boxes[current].features.find(each => each.id == id);
  if (feature.source == "drawn") {
    changeFeatures(current, all => all.filter(each => each.id != id));
    selected = null;
    render();
  } else judge(OTHER);
}
