// The labels file: positions between pixels and degrees, what is saved, what is opened, and how two files are joined.
// Pixels are [column, row], kept to the hundredth, so that a file that is opened again holds the same pixels.
const STEP = 100,
  DECIMALS = 10;
const boxes = new Map(data.boxes.map(box => [box.id, box]));
const [LANDSLIDE, OTHER, UNSURE] = data.verdicts;
const toStep = value => Math.round(value * STEP) / STEP;

function lonLat({degree, lon, lat}, u, v) {
  // and their slopes along u and v, for Newton's method
  const sum = {lon: 0, lat: 0, lonU: 0, lonV: 0, latU: 0, latV: 0};
  for (let i = 0, k = 0; i <= degree; i++)
    for (let j = 0; j <= degree - i; j++, k++) {
      const term = u ** i * v ** j,
        termU = i ? i * u ** (i - 1) * v ** j : 0,
        termV = j ? j * u ** i * v ** (j - 1) : 0;
      sum.lon += lon[k] * term;
      sum.lonU += lon[k] * termU;
      sum.lonV += lon[k] * termV;
      sum.lat += lat[k] * term;
      sum.latU += lat[k] * termU;
      sum.latV += lat[k] * termV;
    }
  return sum;
}

function toDegrees(box, [column, row]) {
  if (!box.degrees) return [column, row];
  const [top, left, bottom, right] = box.window;
  const at = lonLat(
    box.degrees,
    (2 * column - left - right) / (right - left),
    (2 * row - top - bottom) / (bottom - top),
  );
  return [Number(at.lon.toFixed(DECIMALS)), Number(at.lat.toFixed(DECIMALS))];
}

function toPixels(box, [lon, lat]) {
  if (!box.degrees) return [toStep(lon), toStep(lat)];
  const [top, left, bottom, right] = box.window;
  let u = 0,
    v = 0;
  for (let step = 0; step < 8; step++) {
    const at = lonLat(box.degrees, u, v),
      east = lon - at.lon,
      north = lat - at.lat;
    const determinant = at.lonU * at.latV - at.lonV * at.latU;
    u += (east * at.latV - north * at.lonV) / determinant;
    v += (north * at.lonU - east * at.latU) / determinant;
  }
  return [toStep((left + right + u * (right - left)) / 2), toStep((top + bottom + v * (bottom - top)) / 2)];
}

// RFC 7946: outlines run counterclockwise, holes clockwise, and the last position of a ring is its first.
function geometry(box, rings) {
  const coordinates = rings.map((ring, hole) => {
    const points = ring.map(point => toDegrees(box, point));
    const area = points.reduce((sum, [x, y], i) => {
      const [nextX, nextY] = points[(i + 1) % points.length];
      return sum + x * nextY - nextX * y;
    }, 0);
    if (area > 0 == hole > 0) points.reverse();
    return [...points, points[0]];
  });
  return {type: "Polygon", coordinates};
}

// ---------------------------------------------------------------------- saved

function toFile(state) {
  const file = {type: "FeatureCollection", landslide_labels: data.version, scene: data.scene, boxes: [], features: []};
  for (const [id, work] of Object.entries(state.boxes)) {
    if (!work.when) continue;
    const box = boxes.get(id),
      [top, left, bottom, right] = box.box;
    const outline = geometry(box, [
      [
        [left, top],
        [right, top],
        [right, bottom],
        [left, bottom],
      ],
    ]).coordinates[0];
    const entry = {id, outline, finished: work.finished, when: work.when};
    if (work.by) entry.by = work.by;
    file.boxes.push(entry);
    for (const {id: own, verdict, source, rings} of work.features)
      if (verdict)
        file.features.push({
          type: "Feature",
          id: `${id}/${own}`,
          geometry: geometry(box, rings),
          properties: {verdict, box: id, source},
        });
  }
  for (const {box, features} of Object.values(state.others)) {
    file.boxes.push(box);
    file.features.push(...features);
  }
  return file;
}

// ---------------------------------------------------------------------- opened

class WrongFile extends Error {}

function fromFile(file) {
  if (!file || !file.landslide_labels || !Array.isArray(file.boxes) || !Array.isArray(file.features))
    throw new WrongFile("it was not saved by this page");
  if (file.landslide_labels > data.version) throw new WrongFile("a later version of this page has saved it");
  if (!file.scene.digests.some(digest => data.scene.digests.includes(digest)))
    throw new WrongFile(`it holds labels of another scene, ${file.scene.name}`);
  const opened = {boxes: {}, others: {}};
  for (const entry of file.boxes) {
    const features = file.features.filter(feature => feature.properties.box == entry.id),
      box = boxes.get(entry.id);
    if (!box) {
      opened.others[entry.id] = {box: entry, features};
      continue;
    }
    const work = {finished: entry.finished, when: entry.when, by: entry.by || "", features: []};
    for (const {
      id,
      geometry,
      properties: {verdict, source},
    } of features)
      (geometry.type == "Polygon" ? [geometry.coordinates] : geometry.coordinates).forEach((polygon, part) => {
        const rings = polygon.map(ring => ring.slice(0, -1).map(point => toPixels(box, point)));
        const own = String(id).slice(entry.id.length + 1) + (part ? `+${part}` : "");
        work.features.push({id: own, verdict, source, rings});
      });
    opened.boxes[entry.id] = work.finished ? work : withPredicted(box, work);
  }
  return opened;
}

// A finished box needs no verdict any more; any other shows the predicted polygons that have none.
function withPredicted(box, work) {
  const known = new Set(work.features.map(feature => feature.id));
  const missing = box.predicted
    .filter(polygon => !known.has(polygon.id))
    .map(({id, rings}) => ({id, rings, verdict: null, source: `predicted ${id.split("-")[0]}`}));
  return {...work, features: [...work.features, ...missing]};
}

// Of two files that hold work on one box, the finished one counts; if both are or neither is, the later one.
function joined(state, opened) {
  const result = {boxes: {...state.boxes}, others: {...state.others}},
    counts = {taken: 0, kept: 0, replaced: 0};
  const wins = (theirs, ours) => (theirs.finished == ours.finished ? theirs.when > ours.when : theirs.finished);
  const same = (theirs, ours) => theirs.when == ours.when && theirs.finished == ours.finished;
  for (const [id, work] of Object.entries(opened.boxes)) {
    const ours = state.boxes[id];
    if (ours.when && same(work, ours)) continue;
    if (!ours.when) counts.taken++;
    else if (wins(work, ours)) counts.replaced++;
    else {
      counts.kept++;
      continue;
    }
    result.boxes[id] = work;
  }
  for (const [id, other] of Object.entries(opened.others)) {
    const ours = state.others[id];
    if (ours && same(other.box, ours.box)) continue;
    if (!ours) counts.taken++;
    else if (wins(other.box, ours.box)) counts.replaced++;
    else {
      counts.kept++;
      continue;
    }
    result.others[id] = other;
  }
  return {state: result, counts};
}
