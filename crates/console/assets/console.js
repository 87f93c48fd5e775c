// The page as it goes on: cards and numbers by server-sent events, charts by uPlot. Without it the page shows how things
// stood when it was opened.
"use strict";
(() => {
  const root = document.documentElement;
  const lang = root.lang;
  const KEPT = 3700;
  const SIGNS = { fault: "✕", mended: "●", plan: "◆", incident: "▲" };

  // Times as this browser's clock shows them.
  const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const date = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "medium" });
  function localTimes(within) {
    for (const time of within.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      const today = Math.abs(Date.now() - at) < 12 * 3600e3;
      time.textContent = (today ? clock : date).format(at);
      time.title = date.format(at);
    }
  }
  localTimes(document);

  // Whether a key is meant for the page, and not for a field that somebody writes in.
  const isForPage = (event) => !(event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input:not([type=radio]):not([type=checkbox]), textarea, select"));
  document.addEventListener("keydown", (event) => {
    if (!isForPage(event)) return;
    if (event.key === "t") document.getElementById("theme").click();
    if (event.key === "l") document.getElementById("lang").click();
  });

  const colours = () => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), quiet: of("--quiet"), line: of("--line"), bad: of("--bad"), well: of("--well"), link: of("--link"), lines: [0, 1, 2, 3, 4, 5, 6].map((n) => of("--s" + n)) };
  };
  const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

  function linePaint(index, colour) {
    const paint = colour.lines[index % colour.lines.length];
    return { stroke: paint, width: 2, dash: DASHES[Math.floor(index / 2) % DASHES.length], points: { show: false } };
  }
  const shortNumber = (value) => {
    if (value == null) return "–";
    if (Math.abs(value) >= 10000) return new Intl.NumberFormat(lang, { notation: "compact", maximumFractionDigits: 1 }).format(value);
    return new Intl.NumberFormat(lang, { maximumFractionDigits: Math.abs(value) < 10 ? 1 : 0 }).format(value);
  };
  // A question: Ctrl-Enter asks, and its answer is drawn where it has numbers.
  document.querySelector("#question textarea")?.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form.requestSubmit();
  });
  const answer = document.getElementById("answer");
  if (answer) drawAnswer(answer, document.getElementById("answer-chart"));

  function drawAnswer(table, card) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent));
    const numeric = names.map((_, at) => rows.some((row) => row[at] !== "null") && rows.every((row) => row[at] === "null" || (row[at] !== "" && Number.isFinite(Number(row[at])))));
    // As PostgreSQL writes a moment: "2026-11-11 10:00:00.000000+00", or without the offset, which is UTC.
    const time = (text) => Date.parse(text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00") + (/[zZ]|:\d\d.*[+-]\d\d(:?\d\d)?$/.test(text) ? "" : "Z"));
    const isTime = rows.every((row) => /^\d{4}-\d\d-\d\d/.test(row[0]) && Number.isFinite(time(row[0])));
    const lines = names.map((_, at) => at).filter((at) => at > 0 && numeric[at]);
    for (const row of table.rows) [...row.cells].forEach((cell, at) => numeric[at] && cell.classList.add("number"));
    if (!lines.length || rows.length < 2) return;
    const isOrdered = isTime || numeric[0];
    const points = rows.map((row, at) => [isTime ? time(row[0]) / 1000 : numeric[0] ? Number(row[0]) : at, ...lines.map((line) => (row[line] === "null" ? null : Number(row[line])))]);
    if (isOrdered) points.sort((a, b) => a[0] - b[0]);
    card.hidden = false;
    const box = card.querySelector(".plot");
    const colour = colours();
    const axis = { stroke: colour.quiet, grid: { stroke: colour.line, width: 1 }, ticks: { stroke: colour.line }, font: "12px sans-serif" };
    const bars = isOrdered ? {} : { paths: uPlot.paths.bars({ size: [0.6, 60] }), points: { show: false } };
    // Lines of other magnitudes have a scale of their own, on the right.
    const most = lines.map((_, at) => Math.max(...points.map((point) => Math.abs(point[at + 1] ?? 0))));
    const scaleOf = (at) => (most[at] > 20 * Math.max(1e-9, most[0]) || most[0] > 20 * Math.max(1e-9, most[at]) ? "right" : "y");
    const scales = new Set(lines.map((_, at) => scaleOf(at)));
    // A bar's length is its number: it begins at zero.
    const fromZero = { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 0, 0) * 1.05 || 1] };
    const plot = new uPlot({
      width: box.clientWidth, height: 260,
      scales: { x: { time: isTime, range: isOrdered ? undefined : (_, low, high) => [low - 0.6, high + 0.6] }, ...(isOrdered ? {} : { y: fromZero, right: fromZero }) },
      axes: [
        isOrdered ? axis : { ...axis, splits: () => points.map((point) => point[0]), values: (_, all) => all.map((at) => rows[at]?.[0] ?? "") },
        { ...axis, size: 60, values: (_, all) => all.map(shortNumber) },
        ...(scales.has("right") ? [{ ...axis, scale: "right", side: 1, size: 60, grid: { show: false }, values: (_, all) => all.map(shortNumber) }] : []),
      ],
      series: [
        { label: names[0], ...(isOrdered ? {} : { value: (_, at) => rows[at]?.[0] ?? "–" }) },
        ...lines.map((line, at) => ({ label: names[line], scale: scaleOf(at), value: (_, v) => shortNumber(v), ...linePaint(at, colour), ...(isOrdered ? {} : { fill: colour.lines[at % 7] + "55" }), ...(at === 0 ? bars : isOrdered ? {} : { paths: () => null, points: { show: true, size: 9, fill: colour.lines[at % 7] } }) })),
      ],
    }, points[0].map((_, at) => points.map((point) => point[at])), box);
    new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 260 })).observe(card);
  }

  const day = document.getElementById("day");
  if (!day) return;

  const data = { t: [], series: new Map(), marks: [] };
  let zoom = null; // [from, to] in seconds, of all charts; the newest minutes without it
  let minutes = Number(new URLSearchParams(location.search).get("range")) || Number(document.querySelector("input[name=range]:checked")?.value) || 15;
  const sync = uPlot.sync("day");
  const charts = [];

  const filters = { class: new Map(), site: new Map() };
  const hidden = new URLSearchParams(location.search).get("hide")?.split(",").filter(Boolean) ?? [];
  const isShown = (line) => !hidden.some((one) => line === one);

  function window_() {
    if (zoom) return zoom;
    const end = data.t.length ? data.t[data.t.length - 1] : Date.now() / 1000;
    // What came before the first moment is not drawn as emptiness; a minute at least is shown.
    return [Math.max(end - minutes * 60, Math.min(data.t[0] ?? end, end - 60)), end];
  }

  // A label for a line's name: what stands behind the first slash, or the chart's own title.
  function label(name, prefix, title) {
    const rest = name.slice(prefix.length);
    return rest ? (day.dataset["name" + rest[0].toUpperCase() + rest.slice(1)] ?? rest) : title;
  }

  function drawMarks(plot) {
    const { ctx, bbox } = plot;
    const colour = colours();
    ctx.save();
    ctx.font = `${12 * devicePixelRatio}px sans-serif`;
    ctx.textAlign = "center";
    for (const mark of data.marks) {
      const at = plot.valToPos(mark.t, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = mark.kind === "mended" ? colour.well : mark.kind === "plan" ? colour.link : colour.bad;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(SIGNS[mark.kind] ?? "◆", at, bbox.top + 10 * devicePixelRatio);
    }
    ctx.restore();
  }

  function build(chart) {
    const colour = colours();
    const { prefix, title, unit, box } = chart;
    chart.names = [...data.series.keys()].filter((name) => (prefix.endsWith("/") ? name.startsWith(prefix) : name === prefix)).sort();
    chart.plot?.destroy();
    chart.plot = null;
    if (!chart.names.length || !data.t.length) return;
    box.replaceChildren();
    const axis = { stroke: colour.quiet, grid: { stroke: colour.line, width: 1 }, ticks: { stroke: colour.line }, font: "12px sans-serif" };
    const value = (_, v) => (v == null ? "–" : shortNumber(v) + " " + unit);
    chart.plot = new uPlot({
      width: box.clientWidth, height: 190,
      cursor: { y: false, sync: { key: sync.key, setSeries: false }, drag: { x: true, y: false, setScale: false } },
      select: { show: true },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high || 0, unit === "%" ? 100 : 1) * (unit === "%" ? 1 : 1.1)] } },
      axes: [{ ...axis, values: (_, all) => all.map((t) => clock.format(new Date(t * 1000)).slice(0, all[1] - all[0] < 60 ? 8 : 5)) }, { ...axis, size: 52, values: (_, all) => all.map(shortNumber) }],
      series: [
        { label: lang === "ko" ? "시각" : "Time", value: (_, t) => (t == null ? "–" : clock.format(new Date(t * 1000))) },
        ...chart.names.map((name, index) => ({ label: label(name, prefix, title), show: isShown(name), value, spanGaps: false, ...linePaint(index, colour) })),
      ],
      hooks: {
        draw: [drawMarks],
        setSelect: [(plot) => {
          if (plot.select.width < 8) return;
          zoom = [plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")];
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          redraw();
        }],
      },
    }, columns(chart), box);
    box.querySelector(".u-over").addEventListener("dblclick", () => { zoom = null; redraw(); });
  }
  const columns = (chart) => [data.t, ...chart.names.map((name) => data.series.get(name))];

  for (const figure of document.querySelectorAll("figure.chart[data-lines]")) {
    const chart = { prefix: figure.dataset.lines, unit: figure.dataset.unit, title: figure.querySelector("figcaption").textContent, box: figure.querySelector(".plot"), names: [], plot: null };
    charts.push(chart);
    chart.box.addEventListener("keydown", (event) => {
      if (!chart.plot || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      const [from, to] = window_();
      const last = data.t.length - 1;
      const first = Math.max(0, data.t.findIndex((t) => t >= from));
      const step = (event.key === "ArrowRight" ? 1 : -1) * Math.max(1, Math.round((to - from) / 100));
      chart.at = Math.min(last, Math.max(first, (chart.at ?? last) + step));
      chart.plot.setCursor({ left: chart.plot.valToPos(data.t[chart.at], "x"), top: 10 });
    });
  }

  document.addEventListener("keydown", (event) => {
    if (!isForPage(event)) return;
    if (event.key === "Escape") { zoom = null; redraw(); }
    const wanted = document.querySelectorAll("input[name=range]")[Number(event.key) - 1];
    if (wanted) { wanted.checked = true; wanted.dispatchEvent(new Event("change", { bubbles: true })); }
  });

  let asked = false;
  function redraw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const [min, max] = window_();
      for (const chart of charts) {
        const wanted = [...data.series.keys()].filter((name) => (chart.prefix.endsWith("/") ? name.startsWith(chart.prefix) : name === chart.prefix)).length;
        if (!chart.plot || wanted !== chart.names.length) build(chart);
        if (!chart.plot) continue;
        chart.plot.batch(() => {
          chart.plot.setData(columns(chart), false);
          chart.plot.setScale("x", { min, max });
        });
        // The newest numbers stand in the legend while nobody points at others.
        if (!(chart.plot.cursor.left >= 0)) chart.plot.setLegend({ idx: data.t.length - 1 });
      }
    });
  }

  function addMarks(marks) {
    for (const mark of marks) {
      if (!data.marks.some((had) => had.t === mark.t && had.en === mark.en)) data.marks.push(mark);
    }
    if (data.marks.length > 200) data.marks.splice(0, data.marks.length - 200);
  }

  function addPoint(t, points) {
    if (data.t.length && t <= data.t[data.t.length - 1]) return;
    for (const name of Object.keys(points)) {
      if (!data.series.has(name)) data.series.set(name, new Array(data.t.length).fill(null));
    }
    data.t.push(t);
    for (const [name, line] of data.series) line.push(points[name] ?? null);
    if (data.t.length > KEPT) {
      data.t.shift();
      for (const line of data.series.values()) line.shift();
    }
  }

  function addColumns(columns) {
    columns.t.forEach((t, row) => {
      const points = {};
      for (const [name, line] of Object.entries(columns.series)) if (line[row] != null) points[name] = line[row];
      addPoint(t, points);
    });
  }

  function siteFilters() {
    const field = document.getElementById("site-filter");
    for (const name of data.series.keys()) {
      if (!name.startsWith("site/") || filters.site.has(name)) continue;
      const site = name.slice(5);
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: site, checked: isShown(name) });
      box.dataset.filter = "site";
      const text = Object.assign(document.createElement("span"), { textContent: site });
      const label = document.createElement("label");
      label.append(box, text);
      field.append(label);
      filters.site.set(name, box);
    }
    for (const row of document.querySelectorAll("tr[data-site]")) row.hidden = !isShown("site/" + row.dataset.site);
  }

  document.querySelector(".controls").addEventListener("change", (event) => {
    const box = event.target;
    if (box.name === "range") { minutes = Number(box.value); zoom = null; }
    if (box.dataset.filter) {
      const of = box.dataset.filter === "class" ? ["class/", "errors/", "room/"] : ["site/"];
      for (const prefix of of) {
        const line = prefix + box.value;
        const at = hidden.indexOf(line);
        if (box.checked && at >= 0) hidden.splice(at, 1);
        if (!box.checked && at < 0) hidden.push(line);
      }
      for (const chart of charts) chart.names.forEach((name, index) => chart.plot?.setSeries(index + 1, { show: isShown(name) }));
      siteFilters();
    }
    const address = new URL(location);
    address.searchParams.set("range", minutes);
    if (hidden.length) address.searchParams.set("hide", hidden.join(",")); else address.searchParams.delete("hide");
    history.replaceState(null, "", address);
    // The same in another language or other colours.
    for (const link of document.querySelectorAll("#lang, #theme")) {
      const other = new URL(link.href);
      for (const name of ["range", "hide"]) {
        if (address.searchParams.has(name)) other.searchParams.set(name, address.searchParams.get(name)); else other.searchParams.delete(name);
      }
      link.href = other;
    }
    redraw();
  });
  for (const box of document.querySelectorAll("input[data-filter=class]")) box.checked = isShown("class/" + box.value);

  const live = document.getElementById("live");
  function say(isLive) {
    live.className = "chip " + (isLive ? "well" : "bad");
    live.querySelector(".text").textContent = isLive ? live.dataset.live : live.dataset.paused;
  }

  function takeCards(cards) {
    for (const [name, text] of Object.entries(cards)) {
      const slot = document.getElementById("card-" + name);
      // What somebody has focused stays under his hands until he leaves it.
      if (!slot || slot.contains(document.activeElement)) continue;
      slot.innerHTML = text;
      localTimes(slot);
    }
  }

  function catchUp() {
    const since = data.t.length ? data.t[data.t.length - 1] : 0;
    return fetch("/series.json?since=" + since).then((answer) => answer.json()).then(({ columns, marks }) => {
      addColumns(columns);
      addMarks(marks);
      siteFilters();
      redraw();
    });
  }

  function follow() {
    const events = new EventSource("/events?lang=" + lang);
    events.addEventListener("open", () => say(true));
    events.addEventListener("error", () => say(false));
    let last = 0;
    events.addEventListener("frame", (event) => {
      const { t, points, marks, cards } = JSON.parse(event.data);
      // Moments were missed: the console has them.
      if (last && t - last > 5) catchUp().catch(() => say(false));
      last = t;
      day.dataset.frames = Number(day.dataset.frames ?? 0) + 1;
      addPoint(t, points);
      addMarks(marks);
      takeCards(cards);
      siteFilters();
      redraw();
    });
  }
  catchUp().catch(() => say(false)).finally(follow);
  new ResizeObserver(() => { for (const chart of charts) chart.plot?.setSize({ width: chart.box.clientWidth, height: 190 }); }).observe(day);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { charts.forEach(build); redraw(); });
})();
