// The page of a report. `data` is what scenes/report.py writes: grid (page_grid.py), layers, columns, polygons.
"use strict";
const {grid, columns, polygons} = data;
const id = name => document.getElementById(name);
const text = (column, value) => typeof value == "number" ? value.toFixed(column.digits) : value ?? "unknown";

// ---------------------------------------------------------------------- the map

// positions are (-row, column); a pixel is drawn as wide and high as it is on the ground, and lengths are in metres
const crs = L.extend({}, L.CRS.Simple, {
  transformation: L.transformation(grid.aspect, 0, -1, 0),
  distance: (a, b) => Math.hypot((a.lng - b.lng) * grid.metres[0], (a.lat - b.lat) * grid.metres[1]),
});
const bounds = [[-grid.height, 0], [0, grid.width]];
const map = L.map("map", {crs, minZoom: -8, maxZoom: 6, zoomSnap: 0.25, preferCanvas: true});
map.attributionControl.setPrefix("Leaflet");
const view = [[-data.view.bottom, data.view.left], [-data.view.top, data.view.right]];  // the ground with data
map.fitBounds(view);
const layers = {};
for (const [name, order] of [["scene", 200], ["before", 210], ["cover", 220], ["probability", 230]]) {
  map.createPane(name).style.zIndex = order;
  const opacity = name == "probability" ? 0 : 1;
  if (data.layers[name]) layers[name] = L.imageOverlay(data.layers[name], bounds, {pane: name, opacity}).addTo(map);
}

const Scale = L.Control.Scale.extend({
  _updateMetric(length) {
    L.Control.Scale.prototype._updateMetric.call(this, length);
    if (!grid.crs) this._mScale.innerHTML = `${this._getRoundNum(length)} pixels`;
  },
});
new Scale({imperial: false, maxWidth: 140}).addTo(map);

if (grid.north !== null) {
  const arrow = L.control({position: "topright"});
  arrow.onAdd = () => {
    const box = L.DomUtil.create("div", "north");
    box.title = "true north";
    box.innerHTML = `<svg viewBox="-9 -13 18 26" style="transform: rotate(${grid.north}deg)">` +
      '<path d="M0-12 7 11 0 6-7 11Z" fill="#222"/></svg>N';
    return box;
  };
  arrow.addTo(map);
}

// Longitude and latitude (WGS 84) of a position in pixels, between the points of the lattice.
function lonLat(column, row) {
  const {size, lon, lat} = grid.lattice;
  const x = Math.min(Math.max(column / grid.width, 0), 1) * (size - 1), y = Math.min(Math.max(row / grid.height, 0), 1) * (size - 1);
  const i = Math.min(Math.floor(y), size - 2), j = Math.min(Math.floor(x), size - 2), u = x - j, v = y - i, at = i * size + j;
  const between = values => (1 - v) * ((1 - u) * values[at] + u * values[at + 1]) +
    v * ((1 - u) * values[at + size] + u * values[at + size + 1]);
  return [between(lon), between(lat)];
}

function showPosition({latlng}) {
  const column = latlng.lng, row = -latlng.lat, parts = [];
  if (column < 0 || row < 0 || column > grid.width || row > grid.height) {
    id("position").value = "";
    return;
  }
  if (grid.crs && grid.crs != "EPSG:4326") {
    const [a, b, c, d, e, f] = grid.transform, digits = Math.max(0, Math.ceil(-Math.log10(Math.hypot(a, d))));
    parts.push(`${(a * column + b * row + c).toFixed(digits)} ${(d * column + e * row + f).toFixed(digits)} (${grid.crs})`);
  }
  if (grid.crs) {
    const [lon, lat] = lonLat(column, row), east = (lon + 540) % 360 - 180;
    parts.push(`${Math.abs(lat).toFixed(5)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(east).toFixed(5)}° ${east < 0 ? "W" : "E"}`);
  }
  parts.push(`row ${Math.floor(row)}, column ${Math.floor(column)}`);
  id("position").value = parts.join(" · ");
}
map.on("mousemove click", showPosition);
id("position").value = "Move over the map, or tap it, for coordinates";

id("whole").addEventListener("click", () => map.fitBounds(view));
id("opacity").addEventListener("input", () => {
  layers.probability.setOpacity(id("opacity").value / 100);
  id("opacity_shown").value = `${id("opacity").value} %`;
});
function split() {
  const size = map.getSize(), at = size.x * id("split").value / 100;
  const from = map.containerPointToLayerPoint([0, 0]), to = map.containerPointToLayerPoint([at, size.y]);
  map.getPane("before").style.clip = `rect(${from.y}px, ${to.x}px, ${to.y}px, ${from.x}px)`;
}
if (layers.before) { id("split").addEventListener("input", split); map.on("move zoomend resize", split); split(); }

// ---------------------------------------------------------------------- polygons

const PAGE = matchMedia("(min-width: 1000px)").matches ? 200 : 50;  // rows that the table shows at first
const SELECTED = {color: "#00d0ff", weight: 3, fillOpacity: 0};
let order = polygons.map((_, i) => i), kept = [], limit = PAGE, selected = null, sorting = null;

const plain = row => ({color: data.colours[row.class], weight: 1.5, fillOpacity: 0.15});
const shapes = polygons.map((row, i) => {
  const shape = L.polygon(row.rings.map(ring => ring.map(([column, line]) => [-line, column])), plain(row));
  shape.bindPopup(() => columns.map(column => `${column.label}: ${text(column, row[column.key])}`).join("<br>"), {autoPan: false});
  shape.on("click", () => { select(i); lines[i].scrollIntoView({block: "nearest"}); });
  return shape;
});

const lines = polygons.map((row, i) => {
  const line = document.createElement("tr");
  line.tabIndex = -1;
  for (const column of columns) {
    const cell = line.insertCell();
    cell.dataset.key = column.key;
    cell.textContent = text(column, row[column.key]);
  }
  line.cells[0].insertAdjacentHTML("afterbegin", `<i class="key" style="background:${data.colours[row.class]}"></i>`);
  line.addEventListener("click", () => visit(i));
  return line;
});

// Mark a polygon on the map and its row in the table; null marks none.
function select(i) {
  if (selected !== null) {
    shapes[selected].setStyle(plain(polygons[selected]));
    lines[selected].classList.remove("selected");
  }
  selected = i;
  if (i === null) return;
  shapes[i].setStyle(SELECTED).bringToFront();
  lines[i].classList.add("selected");
  const position = kept.indexOf(i);
  if (position >= limit) { limit = position + PAGE; showRows(); }
}

// Show the polygon of a row on the map; the row stays where it is.
function visit(i) {
  map.closePopup();
  select(i);
  map.fitBounds(shapes[i].getBounds(), {maxZoom: 3, padding: [60, 60]});
}

function showRows() {
  document.querySelector("#rows tbody").replaceChildren(...kept.slice(0, limit).map(i => lines[i]));
  id("more").hidden = kept.length <= limit;
  id("more").textContent = `show more rows (${kept.length - limit} left)`;
}
id("more").addEventListener("click", () => { limit += 5 * PAGE; showRows(); });

document.addEventListener("keydown", event => {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (!step || selected === null || event.target.matches("input") || id("map").contains(event.target)) return;
  const next = kept[kept.indexOf(selected) + step];
  if (next === undefined) return;
  event.preventDefault();
  visit(next);
  lines[next].scrollIntoView({block: "nearest"});
});

// ---------------------------------------------------------------------- filters and order

const areas = polygons.map(row => row.area).filter(area => area > 0);
const smallest = areas.reduce((a, b) => Math.min(a, b), Infinity), largest = areas.reduce((a, b) => Math.max(a, b), 0);

// The limits of the sliders: the mean probability, and the area on a logarithmic scale.
function limits() {
  const share = id("area").value / 100;
  return {confidence: id("confidence").value / 100, area: share && areas.length ? smallest * (largest / smallest) ** share : 0};
}

function amount(area) {
  if (data.unit == "m²" && area >= 1e5) return `${(area / 1e6).toFixed(3)} km²`;
  return `${area.toFixed(area && area < 10 && data.unit == "m²" ? 2 : 0)} ${data.unit}`;
}

function filter() {
  const {confidence, area} = limits(), was = new Set(kept);
  kept = order.filter(i => polygons[i].confidence >= confidence && polygons[i].area >= area * (1 - 1e-9));
  const now = new Set(kept);
  for (const i of order) if (was.has(i) != now.has(i)) now.has(i) ? shapes[i].addTo(map) : shapes[i].remove();
  if (selected !== null && !now.has(selected)) select(null);
  limit = PAGE;
  showRows();
  id("confidence_shown").value = confidence.toFixed(2);
  id("area_shown").value = amount(area);
  id("shown").textContent = `${kept.length} polygons, ${amount(kept.reduce((sum, i) => sum + polygons[i].area, 0))}.`;
}
id("confidence").addEventListener("input", filter);
id("area").addEventListener("input", filter);

const headings = columns.map(column => {
  const heading = document.createElement("th");
  heading.dataset.key = column.key;
  heading.textContent = column.label;
  heading.tabIndex = 0;
  heading.addEventListener("click", () => sort(column.key, heading));
  heading.addEventListener("keydown", event => { if (event.key == "Enter") sort(column.key, heading); });
  return heading;
});
document.querySelector("#rows thead tr").append(...headings);

// Sort by a column, from the highest; again, from the lowest. Unknown values come last.
function sort(key, heading) {
  const sign = sorting == key ? 1 : -1;
  sorting = sign == -1 ? key : null;
  order.sort((a, b) => {
    const [x, y] = [polygons[a][key], polygons[b][key]];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  });
  for (const each of headings) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign == -1 ? "descending" : "ascending");
  filter();
}

// ---------------------------------------------------------------------- saving

function save(ending, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], {type}));
  link.download = `${data.name}_selection.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// A ring in longitude and latitude, less a turn of the Earth; outer rings go counterclockwise, holes clockwise (RFC 7946).
function orientedRing(ring, outer, turn) {
  const points = ring.map(([column, row]) => {
    const [lon, lat] = lonLat(column, row);
    return [lon - turn, lat].map(value => Number(value.toFixed(8)));
  });
  const [west, south] = points[0], from = points.map(([lon, lat]) => [lon - west, lat - south]);
  const doubled = from.slice(1).reduce((sum, [x, y], i) => sum + from[i][0] * y - x * from[i][1], 0);
  return doubled > 0 == outer ? points : points.reverse();
}

function geojson() {
  const features = kept.map(i => {
    const {rings, ...row} = polygons[i], properties = {};
    for (const {key} of columns) properties[key] = row[key];
    Object.assign(properties, {verdict: null, note: null});  // as in the GeoPackage, for a reviewer
    const turn = 360 * Math.floor((lonLat(...rings[0][0])[0] + 180) / 360);
    const coordinates = rings.map((ring, number) => orientedRing(ring, number == 0, turn));
    return {type: "Feature", id: row.id, properties, geometry: {type: "Polygon", coordinates}};
  });
  const {confidence, area} = limits(), selection = {least_confidence: confidence, least_area: area};
  return JSON.stringify({type: "FeatureCollection", made: data.made, selection, features});
}

function csv() {
  const rows = kept.map(i => columns.map(({key}) => polygons[i][key] ?? ""));
  return [columns.map(column => column.key), ...rows].map(row => row.join(",")).join("\r\n") + "\r\n";
}

id("geojson")?.addEventListener("click", () => save("geojson", "application/geo+json", geojson()));
id("csv").addEventListener("click", () => save("csv", "text/csv", csv()));
filter();
