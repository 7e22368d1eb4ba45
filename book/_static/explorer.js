/* The explorer: codes of digits to look at. Data are in explorer-data.js, the page's frame in book/explorer.md.

   All that is shown hangs on `state`. A change goes through `show`, which draws what hangs on it anew; nothing moves by
   itself. Images are numbered with the queries first, then the database. Drawn by hand, for the book loads no library. */
"use strict";

(() => {
  const data = window.explorerData;
  const NEAREST = 24; // images that are listed
  const SAME = 12; // images of one code that are shown
  const SIDE = 8; // pixels of a digit
  const WIDTH = 340, HEIGHT = 250; // of a chart, with room for axes at its left and below
  const LEFT = 40, RIGHT = 12, TOP = 12, BOTTOM = 40;

  const element = name => document.getElementById(`explorer-${name}`);
  const labels = [...data.labels];
  const database = labels.map((_, image) => image).slice(data.queries);
  const state = { method: data.methods.length - 1, bits: 12, query: 0, radius: 2, chosen: data.queries };
  let view = null; // what `look` makes of the state

  // ---- codes

  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const popcount = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

  /** A method's codes of one length: bytes per image, the different codes, and where these lie on the map. */
  function decode(entry, bits) {
    const width = Math.ceil(bits / 8);
    const packed = bytes(entry.packed);
    const map = bytes(entry.map);
    const code = image => packed.subarray(image * width, (image + 1) * width);
    const different = new Map(); // a code's bytes as text -> its images
    labels.forEach((_, image) => {
      const key = code(image).join();
      if (!different.has(key)) different.set(key, []);
      different.get(key).push(image);
    });
    const spots = [...different.values()].map((images, i) =>
      ({ images, x: map[2 * i] / 255, y: map[2 * i + 1] / 255, label: commonest(images) }));
    const spotOf = [];
    spots.forEach(spot => spot.images.forEach(image => { spotOf[image] = spot; }));
    const distance = (a, b) => { // a plain loop, for all queries against the database are half a million pairs
      let sum = 0;
      for (let i = 0; i < width; i += 1) sum += popcount[packed[a * width + i] ^ packed[b * width + i]];
      return sum;
    };
    return { bits, entry, code, spots, spotOf, distance };
  }

  const decoded = new Map(); // what was decoded once is kept
  function codes() {
    const key = `${state.method} ${state.bits}`;
    const entry = data.methods[state.method].codes[state.bits];
    if (!decoded.has(key)) decoded.set(key, decode(entry, state.bits));
    return decoded.get(key);
  }

  /** How many images show each digit, commonest first: [[digit, count], …]. */
  function tally(images) {
    const counts = new Map();
    images.forEach(image => counts.set(labels[image], (counts.get(labels[image]) ?? 0) + 1));
    return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  }
  const commonest = images => tally(images)[0][0];

  /** The bits of an image's code, first bit first: it is the lowest of its byte. */
  function bitsOf(image, { code, bits }) {
    return Array.from({ length: bits }, (_, i) => code(image)[i >> 3] >> (i & 7) & 1);
  }

  /** Images, right ones among them, precision and recall within each radius, summed over queries. */
  function balls(queries, { bits, distance }) {
    const items = Array(bits + 1).fill(0);
    const hits = Array(bits + 1).fill(0);
    for (const query of queries) {
      for (const image of database) {
        const far = distance(query, image);
        items[far] += 1;
        if (labels[query] === labels[image]) hits[far] += 1;
      }
    }
    for (let r = 1; r <= bits; r += 1) {
      items[r] += items[r - 1];
      hits[r] += hits[r - 1];
    }
    const precision = hits.map((hit, r) => hit / items[r]); // NaN where nothing is retrieved
    return { items, hits, precision, recall: hits.map(hit => hit / Math.max(hits[bits], 1)) };
  }

  /** Everything that hangs on method, length and query. */
  function look() {
    const current = codes();
    current.all ??= balls(labels.map((_, image) => image).slice(0, data.queries), current);
    const far = labels.map((_, image) => current.distance(state.query, image));
    const ranking = [...database].sort((a, b) => far[a] - far[b] || a - b); // ties as they come
    return { ...current, far, ranking, one: balls([state.query], current) };
  }

  // ---- words

  const number = value => Number.isNaN(value) ? "–" : value.toFixed(3);
  const article = digit => digit === "8" ? "an 8" : `a ${digit}`;
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  const within = image => view.far[image] <= state.radius;
  const same = image => labels[image] === labels[state.query];

  function nameOf(image) {
    const kind = image < data.queries ? `query ${image + 1}` : `image ${image - data.queries + 1}`;
    return `${kind}, ${article(labels[image])}`;
  }

  /** Put words in an element; words that stay are not read out again. */
  function say(name, words) {
    if (element(name).textContent !== words) element(name).textContent = words;
  }

  function fill(name, children) {
    element(name).replaceChildren(...children);
  }

  function make(tag, properties = {}, attributes = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  }

  // ---- what is seen

  function digit(image) {
    const canvas = make("canvas", { className: "digit", width: SIDE, height: SIDE }, { "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const picture = context.createImageData(SIDE, SIDE);
    for (let i = 0; i < SIDE * SIDE; i += 1) {
      const ink = data.images.charCodeAt(image * SIDE * SIDE + i) - "a".charCodeAt(0); // 0..16
      picture.data[4 * i + 3] = ink / 16 * 255;
    }
    context.putImageData(picture, 0, 0);
    return canvas;
  }

  function drawControls() {
    element("method").value = state.method;
    element("bits").value = state.bits;
    element("query").value = state.query + 1;
    element("radius").max = state.bits;
    element("radius").value = state.radius;
    element("radius").setAttribute("aria-valuetext", plural(state.radius, "bit"));
    say("radius-value", String(state.radius));
    fill("asked", [digit(state.query), ` ${article(labels[state.query])}`]);
    element("previous").disabled = state.query === 0;
    element("next").disabled = state.query === data.queries - 1;
    const { name, about } = data.methods[state.method];
    say("about", `${name}: ${about} ${view.spots.length} different codes for ${labels.length} images. `
      + `Record ${view.entry.record}, settings: ${view.entry.variant}.`);
  }

  function drawSummary() {
    const items = view.one.items[state.radius];
    const hits = view.one.hits[state.radius];
    const [precision, recall] = [view.one.precision, view.one.recall].map(curve => number(curve[state.radius]));
    const grades = items ? `precision ${precision}, recall ${recall}` : "so there is no precision, and recall is 0";
    say("summary", `${nameOf(state.query).replace("q", "Q")}: ${plural(items, "image")} of ${database.length} within `
      + `radius ${state.radius}, ${hits} of them right; ${grades}.`);
  }

  function drawNearest() {
    fill("nearest", view.ranking.slice(0, NEAREST).map((image, rank) => {
      const right = same(image);
      const words = `${rank + 1}: ${article(labels[image])}, ${right ? "right" : "wrong"}, distance ${view.far[image]}, `
        + (within(image) ? "within the radius" : "beyond the radius");
      const option = make("div", { id: `explorer-rank-${rank}`, className: within(image) ? "" : "beyond" },
        { "role": "option", "aria-label": words, "aria-selected": image === state.chosen });
      const mark = make("span", { textContent: right ? "✓" : "✗", className: right ? "" : "wrong" });
      option.append(digit(image), `${view.far[image]} `, mark);
      option.addEventListener("click", () => show({ chosen: image }));
      return option;
    }));
    const rank = view.ranking.slice(0, NEAREST).indexOf(state.chosen);
    if (rank < 0) element("nearest").removeAttribute("aria-activedescendant");
    else element("nearest").setAttribute("aria-activedescendant", `explorer-rank-${rank}`);
  }

  /** Two codes above each other, eight bits at a time, with a mark under each bit that differs. */
  function drawBits(above, below) {
    const blocks = [];
    for (let start = 0; start < above.length; start += 8) {
      const block = make("div", { className: "byte" });
      const cell = (row, i, textContent, className) => {
        const made = make("span", { textContent, className });
        made.style.gridArea = `${row} / ${i + 1}`;
        block.append(made);
      };
      above.slice(start, start + 8).forEach((bit, i) => {
        const differs = bit !== below[start + i];
        cell(1, i, bit, differs ? "differs" : "");
        cell(2, i, below[start + i], differs ? "differs" : "");
        cell(3, i, differs ? "▴" : "", "tick");
      });
      blocks.push(block);
    }
    fill("code", blocks);
  }

  function drawComparison() {
    const above = bitsOf(state.query, view);
    const below = bitsOf(state.chosen, view);
    const differing = above.flatMap((bit, i) => bit === below[i] ? [] : [i + 1]);
    const where = differing.length ? `they differ in ${plural(differing.length, "bit")}: ${differing.join(", ")}`
      : "they have the same code";
    const between = state.query === state.chosen ? "this is the query itself" : where;
    say("comparison", `Above ${nameOf(state.query)}; below ${nameOf(state.chosen)}: ${between}.`);
    drawBits(above, below);

    const { images } = view.spotOf[state.chosen];
    const counts = tally(images).map(([label, count]) => `${count} × ${label}`).join(", ");
    say("shared", images.length === 1 ? "No other image has the lower code." : `${images.length} images have the lower code: ${counts}.`);
    fill("same", images.slice(0, SAME).map(digit));
    const asked = images.find(image => image < data.queries && image !== state.query);
    element("ask").disabled = asked === undefined;
    element("ask").textContent = asked === undefined ? "No other query has this code" : `Search for ${nameOf(asked)}`;
    element("ask").onclick = () => show({ query: asked, chosen: null });
  }

  // ---- charts

  const across = share => LEFT + share * (WIDTH - LEFT - RIGHT);
  const up = share => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);

  function axes(xLabel, yLabel, xTicks) {
    const ticks = xTicks.map(([share, words]) =>
      `<text x="${across(share)}" y="${up(0) + 16}" text-anchor="middle">${words}</text>`);
    const levels = [0, 0.5, 1].map(share =>
      `<text x="${LEFT - 6}" y="${up(share) + 4}" text-anchor="end">${share}</text>`);
    return `<rect class="frame" x="${LEFT}" y="${TOP}" width="${across(1) - LEFT}" height="${up(0) - TOP}"/>
      ${ticks.join("")}${levels.join("")}
      <text x="${across(0.5)}" y="${HEIGHT - 6}" text-anchor="middle">${xLabel}</text>
      <text transform="translate(12 ${up(0.5)}) rotate(-90)" text-anchor="middle">${yLabel}</text>`;
  }

  const known = points => points.filter(point => !point.some(Number.isNaN));
  const line = (points, kind) =>
    `<polyline class="${kind}" points="${known(points).map(([x, y]) => `${across(x)},${up(y)}`).join(" ")}"/>`;
  const dot = ([x, y], kind) =>
    Number.isNaN(y) ? "" : `<circle class="${kind}" cx="${across(x)}" cy="${up(y)}" r="5"/>`;
  const name = (x, y, kind, words) =>
    `<text class="${kind}" x="${across(x)}" y="${up(y)}" text-anchor="end">${words}</text>`;
  const chart = (words, inner) =>
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${words}">${inner}</svg>`;

  function byRadius() {
    const share = r => r / state.bits;
    const parts = [axes("radius", "precision, recall", [0, 0.5, 1].map(x => [x, x * state.bits]))];
    const at = share(state.radius);
    parts.push(`<line class="frame" x1="${across(at)}" x2="${across(at)}" y1="${up(0)}" y2="${up(1)}"/>`);
    for (const which of ["all", "one"]) {
      for (const [curve, kind] of [["precision", "first"], ["recall", "second"]]) {
        const points = view[which][curve].map((value, r) => [share(r), value]);
        parts.push(line(points, `${kind} ${which}`), dot(points[state.radius], which));
      }
    }
    // With every image within the radius recall is 1, and precision the share of a digit: a tenth.
    parts.push(name(0.98, 0.93, "second", "recall"), name(0.98, 0.17, "first", "precision"));
    return chart("Precision and recall by radius, as in the table below", parts.join(""));
  }

  function byRecall() {
    const parts = [axes("recall", "precision", [0, 0.5, 1].map(x => [x, x]))];
    for (const which of ["all", "one"]) {
      const points = view[which].recall.map((value, r) => [value, view[which].precision[r]]);
      parts.push(line(points, `first ${which}`), dot(points[state.radius], which));
    }
    return chart("Precision over recall, as in the table below", parts.join(""));
  }

  function drawCurves() {
    element("curves").innerHTML = byRadius() + byRecall();
  }

  function drawNumbers() {
    const { one, all } = view;
    fill("numbers", one.items.map((items, r) => {
      const row = make("tr", {}, r === state.radius ? { "aria-current": "true" } : {});
      row.append(make("th", { textContent: r }, { scope: "row" }));
      const cells = [items, one.hits[r], ...[one.precision, one.recall, all.precision, all.recall].map(curve => number(curve[r]))];
      row.append(...cells.map(textContent => make("td", { textContent })));
      return row;
    }));
  }

  // ---- the map

  const onMap = size => ({ x, y }) => [20 + x * (size - 40), 20 + y * (size - 40)]; // with a margin for numerals

  function ink(label, dark) {
    // Ten hues of one lightness for the page's ground, neighbours a little apart; the numeral says the digit too.
    const lightness = (dark ? 0.74 : 0.46) + (label % 2 ? 0.08 : 0);
    return `oklch(${lightness} 0.14 ${label * 36})`;
  }

  function drawMap() {
    const canvas = element("map");
    const size = canvas.clientWidth;
    const sharp = window.devicePixelRatio || 1;
    canvas.width = canvas.height = size * sharp;
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    Object.assign(context, { textAlign: "center", textBaseline: "middle" });
    const place = onMap(size);
    const dark = document.documentElement.dataset.theme === "dark";
    const rank = spot => (within(spot.images[0]) ? 1e6 : 0) + spot.images.length; // what matters is drawn last
    for (const spot of [...view.spots].sort((a, b) => rank(a) - rank(b))) {
      const near = within(spot.images[0]);
      const height = Math.min(10 + 2.2 * Math.sqrt(spot.images.length - 1), 34);
      context.globalAlpha = near ? 1 : 0.45;
      context.fillStyle = ink(Number(spot.label), dark);
      context.font = `${near ? 700 : 400} ${height}px sans-serif`;
      context.fillText(spot.label, ...place(spot));
    }
    context.globalAlpha = 1;
    context.lineWidth = 2;
    const style = getComputedStyle(canvas);
    context.strokeStyle = style.color;
    ring(context, place(view.spotOf[state.query]));
    context.strokeStyle = style.getPropertyValue("--other");
    const [x, y] = place(view.spotOf[state.chosen]);
    context.strokeRect(x - 12, y - 12, 24, 24);
  }

  function ring(context, [x, y]) {
    context.beginPath();
    context.arc(x, y, 17, 0, 2 * Math.PI);
    context.stroke();
  }

  /** The nearest other code on the map in a direction, among those that lie more that way than aside. */
  function neighbour(from, dx, dy) {
    let [best, least] = [from, Infinity];
    for (const spot of view.spots) {
      const ahead = (spot.x - from.x) * dx + (spot.y - from.y) * dy;
      const aside = Math.abs((spot.x - from.x) * dy) + Math.abs((spot.y - from.y) * dx);
      if (ahead > 0 && aside <= ahead && ahead + aside < least) [best, least] = [spot, ahead + aside];
    }
    return best;
  }

  /** The code that comes so many steps later when all are sorted by their distance to the query. */
  function later(from, steps) {
    const far = spot => view.far[spot.images[0]];
    const sorted = [...view.spots].sort((a, b) => far(a) - far(b));
    const index = sorted.indexOf(from) + steps;
    return sorted[Math.max(0, Math.min(index, sorted.length - 1))];
  }

  function mapKey(event) {
    const from = view.spotOf[state.chosen];
    const moves = {
      ArrowLeft: () => neighbour(from, -1, 0), ArrowRight: () => neighbour(from, 1, 0),
      ArrowUp: () => neighbour(from, 0, -1), ArrowDown: () => neighbour(from, 0, 1),
      PageDown: () => later(from, 1), PageUp: () => later(from, -1), Home: () => view.spotOf[state.query],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show({ chosen: moves[event.key]().images[0] });
  }

  function mapClick(event) {
    const place = onMap(element("map").clientWidth);
    const away = spot => {
      const [x, y] = place(spot);
      return Math.hypot(x - event.offsetX, y - event.offsetY);
    };
    const nearest = view.spots.reduce((best, spot) => away(spot) < away(best) ? spot : best);
    show({ chosen: nearest.images[0] });
  }

  // ---- what the reader does

  function nearestKey(event) {
    const options = [...element("nearest").children];
    const columns = options.filter(option => option.offsetTop === options[0].offsetTop).length;
    const rank = view.ranking.slice(0, NEAREST).indexOf(state.chosen);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -rank, End: NEAREST - 1 - rank };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const wanted = rank < 0 ? 0 : rank + steps[event.key];
    if (wanted >= 0 && wanted < NEAREST) show({ chosen: view.ranking[wanted] });
  }

  /** Take the reader's changes on and draw; `chosen: null` is the image that comes first. */
  function show(changes) {
    const others = ["method", "bits", "query"].some(key => key in changes);
    Object.assign(state, changes);
    state.radius = Math.min(state.radius, state.bits);
    if (others) view = look();
    state.chosen ??= view.ranking[0];
    [drawControls, drawSummary, drawNearest, drawComparison, drawMap].forEach(draw => draw());
    if (others || "radius" in changes) [drawCurves, drawNumbers].forEach(draw => draw());
  }

  function asked(event) {
    const wanted = Math.round(Number(event.target.value)) - 1;
    const inside = Math.max(0, Math.min(wanted, data.queries - 1));
    show({ query: inside, chosen: null });
  }

  function listen() {
    const fresh = { chosen: null };
    element("method").addEventListener("change", event => show({ method: Number(event.target.value), ...fresh }));
    element("bits").addEventListener("change", event => show({ bits: Number(event.target.value), ...fresh }));
    element("query").addEventListener("change", asked);
    element("previous").addEventListener("click", () => show({ query: state.query - 1, ...fresh }));
    element("next").addEventListener("click", () => show({ query: state.query + 1, ...fresh }));
    element("radius").addEventListener("input", event => show({ radius: Number(event.target.value) }));
    element("nearest").addEventListener("keydown", nearestKey);
    element("map").addEventListener("keydown", mapKey);
    element("map").addEventListener("click", mapClick);
    document.querySelector(".explorer-controls").addEventListener("submit", event => event.preventDefault());
    new ResizeObserver(drawMap).observe(element("map"));
    new MutationObserver(drawMap).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  function start() {
    fill("method", data.methods.map(({ name }, value) => make("option", { textContent: name, value })));
    fill("bits", Object.keys(data.methods[0].codes).map(bits => make("option", { textContent: bits, value: bits })));
    element("query").max = data.queries;
    say("source", `Images: ${data.source}; ${data.licence}.`);
    document.documentElement.classList.add("explorer-on");
    document.getElementById("explorer").hidden = false;
    show({ method: state.method, chosen: null });
    listen();
  }

  start();
})();
