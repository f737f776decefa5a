"use strict";
// Tables that sort, and pictures drawn from the JSON that each group carries.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const MAGMA = ["#000004", "#140e36", "#3b0f70", "#641a80", "#8c2981", "#b73779", "#de4968", "#f7705c", "#fe9f6d", "#fecf92", "#fcfdbf"];

  // ---- tables

  const cellOf = (row, column) => row.querySelectorAll("th[data-value], td[data-value]")[column];

  function sortTable(table, key, reverse) {
    const heads = [...table.querySelectorAll("thead th")];
    const column = heads.findIndex((head) => head.dataset.key === key);
    if (column < 0) return false;
    const better = Number(heads[column].dataset.better) || 1;
    const descending = better > 0 !== Boolean(reverse);
    const text = key === "model";
    const value = (row) => cellOf(row, column).dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (text) return descending ? y.localeCompare(x) : x.localeCompare(y);
      if (x === "" || y === "") return (x === "") - (y === ""); // what has no number comes last either way
      return descending ? y - x : x - y;
    };
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => row.dataset.model !== undefined);
      body.append(...rows.sort(compare)); // stable, and the heading row of a body stays first
    }
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
    return true;
  }

  function sortFromAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1)).get("sort");
    for (const table of document.querySelectorAll("table.sortable")) {
      const reverse = wanted?.startsWith("-");
      if (!wanted || !sortTable(table, reverse ? wanted.slice(1) : wanted, reverse)) sortTable(table, table.dataset.sort, false);
    }
  }

  for (const button of document.querySelectorAll("table.sortable thead button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const better = Number(head.dataset.better) || 1;
      const first = better > 0 ? "descending" : "ascending";
      const reverse = head.getAttribute("aria-sort") === first;
      sortTable(head.closest("table"), head.dataset.key, reverse);
      history.replaceState(null, "", `#sort=${reverse ? "-" : ""}${head.dataset.key}`);
    });
  }
  addEventListener("hashchange", () => { if (location.hash.startsWith("#sort=")) sortFromAddress(); });
  sortFromAddress();

  // ---- drawing

  function el(name, attributes = {}, text) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function html(name, attributes = {}, text) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const plot = (width, height, label) => el("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const written = (value) => (value === null || value === undefined ? "none" : value.toFixed(3).replace("-", "−"));
  const minus = (value) => String(Number(value.toFixed(6))).replace("-", "−");
  const scale = (from, to, left, right) => (value) => left + ((right - left) * (value - from)) / (to - from || 1);

  function ticks(low, high, count = 4) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9; i++) found.push(i * step);
    return found;
  }

  function color(share) {
    const place = Math.min(Math.max(share, 0), 1) * (MAGMA.length - 1);
    const left = Math.min(Math.floor(place), MAGMA.length - 2);
    const mix = (at) => {
      const [a, b] = [MAGMA[left], MAGMA[left + 1]].map((hex) => parseInt(hex.slice(at, at + 2), 16));
      return Math.round(a + (b - a) * (place - left));
    };
    return `rgb(${mix(1)} ${mix(3)} ${mix(5)})`;
  }

  const labelWidth = (names) => Math.min(165, 16 + 6.9 * Math.max(...names.map((name) => name.length)));
  const shortened = (name) => (name.length > 22 ? `${name.slice(0, 21)}…` : name);

  function axes(svg, box, x, y, xTicks, yTicks, xName, yName, xText = minus) {
    for (const tick of xTicks) {
      svg.append(el("line", { class: "grid", x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }));
      svg.append(el("text", { x: x(tick), y: box.bottom + 15, "text-anchor": "middle" }, xText(tick)));
    }
    for (const tick of yTicks) {
      svg.append(el("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
      svg.append(el("text", { x: box.left - 6, y: y(tick) + 4, "text-anchor": "end" }, minus(tick)));
    }
    svg.append(el("text", { x: (box.left + box.right) / 2, y: box.bottom + 32, "text-anchor": "middle" }, xName));
    svg.append(el("text", { transform: `translate(11 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yName));
  }

  const padded = (values, share = 0.06) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = share * (high - low || 0.1);
    return [low - margin, high + margin];
  };

  // ---- one group

  function explore(root) {
    const data = JSON.parse(root.querySelector(".payload").textContent);
    const control = (name) => root.querySelector(`[data-control="${name}"]`);
    const place = (name) => root.querySelector(`[data-plot="${name}"]`);
    const sections = Object.entries(data.sections);
    const state = { gene: null };
    const focus = () => control("focus").value;
    const reference = () => control("reference").value;
    const role = (model) => (model === focus() ? "model" : model === reference() ? "reference" : "other");
    const empty = (text) => html("p", { class: "empty" }, text);

    function fill(select, options, chosen) {
      select.replaceChildren(...options.map(([value, text]) => new Option(text, value, value === chosen, value === chosen)));
    }

    function drawSections() {
      const values = sections.flatMap(([key, section]) => [section.ceiling, ...data.models.flatMap((m) => (data.scores[m][key] || []).map((s) => s[1]))]);
      const known = values.filter((value) => value !== null);
      if (!known.length) return place("sections").replaceChildren(empty("No section has a score."));
      const left = labelWidth(data.models);
      const [low, high] = [Math.min(0, ...known), Math.max(...known)];
      const x = scale(low, high, left, 340);
      place("sections").replaceChildren(...sections.map(([key, section]) => {
        const height = 28 + 16 * data.models.length;
        const name = section.name === section.fold ? section.name : `${section.name}, fold ${section.fold}`;
        const best = data.models.map((m) => `${m} ${(data.scores[m][key] || []).map((s) => written(s[1])).join(" ")}`).join("; ");
        const svg = plot(360, height + 22, `PCC in ${name}, attainable ${written(section.ceiling)}: ${best}`);
        svg.append(el("text", { x: 0, y: 12, class: "strong" }, name));
        for (const tick of ticks(low, high)) {
          svg.append(el("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 20, y2: height }));
          svg.append(el("text", { x: x(tick), y: height + 14, "text-anchor": "middle" }, minus(tick)));
        }
        if (section.ceiling !== null) {
          svg.append(el("line", { class: "ceiling", x1: x(section.ceiling), x2: x(section.ceiling), y1: 18, y2: height }));
          svg.append(el("text", { class: "ceiling-text", x: x(section.ceiling), y: 12, "text-anchor": "end" }, `attainable ${section.ceiling.toFixed(2)}`));
        }
        data.models.forEach((model, i) => {
          const y = 32 + 16 * i;
          svg.append(el("text", { x: left - 10, y: y + 4, "text-anchor": "end", ...(role(model) === "other" ? {} : { class: "strong" }) }, shortened(model)));
          for (const [seed, pcc] of data.scores[model][key] || []) {
            const dot = el("circle", { class: `dot ${role(model)}`, cx: x(pcc), cy: y, r: 4 });
            dot.append(el("title", {}, `${model}, seed ${seed}: ${written(pcc)}`));
            svg.append(dot);
          }
        });
        return svg;
      }));
    }

    function mapOf(pos, map, range, title) {
      const xs = pos.filter((_, i) => i % 2 === 0), ys = pos.filter((_, i) => i % 2 === 1);
      const pitch = pitchOf(xs, ys);
      const [width, height] = [Math.max(...xs) + 2 * pitch, Math.max(...ys) + 2 * pitch];
      const box = html("div");
      box.append(html("p", {}, title));
      const svg = el("svg", { class: "plot", viewBox: `${-pitch} ${-pitch} ${width} ${height}`, role: "img", "aria-label": title });
      xs.forEach((cx, i) => {
        const value = map.low + ((map.high - map.low) * parseInt(map.q.slice(2 * i, 2 * i + 2), 10)) / 99;
        const spot = el("circle", { cx, cy: ys[i], r: 0.47 * pitch, fill: color((value - range[0]) / (range[1] - range[0] || 1)) });
        spot.append(el("title", {}, value.toFixed(2)));
        svg.append(spot);
      });
      const bar = html("i", { style: `background: linear-gradient(to right, ${MAGMA.join(", ")})` });
      const legend = html("div", { class: "range" });
      legend.append(html("span", {}, range[0].toFixed(2)), bar, html("span", {}, range[1].toFixed(2)));
      box.append(svg, legend);
      return box;
    }

    function pitchOf(xs, ys) {
      const nearest = xs.map((x, i) => Math.min(...xs.map((other, j) => (i === j ? Infinity : Math.hypot(x - other, ys[i] - ys[j])))));
      const pitch = nearest.sort((a, b) => a - b)[nearest.length >> 1];
      return Number.isFinite(pitch) && pitch > 0 ? pitch : 1;
    }

    function drawMaps() {
      const key = control("section").value, section = data.sections[key];
      const genes = Object.keys(section.genes), gene = genes.includes(control("mapped").value) ? control("mapped").value : genes[0];
      fill(control("mapped"), genes.map((name) => [name, name]), gene);
      if (!gene) return place("maps").replaceChildren(empty("No gene of this section has a map."));
      const shown = [[`${gene}, measured`, section.genes[gene]]];
      for (const model of new Set([focus(), reference()])) {
        const found = data.maps[model][key], map = found && found.genes[gene];
        if (map) shown.push([`${model}, PCC ${written(map.pcc)} (seed ${found.seed})`, map]);
      }
      const all = [Math.min(...shown.map(([, map]) => map.low)), Math.max(...shown.map(([, map]) => map.high))];
      place("maps").replaceChildren(...shown.map(([title, map]) => mapOf(section.pos, map, control("shared").checked ? all : [map.low, map.high], title)));
    }

    function drawGenes() {
      const ceiling = control("against").value === "ceiling";
      const xs = ceiling ? data.ceiling : data.per_gene[reference()], ys = data.per_gene[focus()];
      const points = data.genes.map((gene, i) => ({ gene, x: xs[i], y: ys[i], ceiling: data.ceiling[i] })).filter((p) => p.x !== null && p.y !== null);
      if (!points.length) return place("genes").replaceChildren(empty("No gene has both numbers."));
      const box = { left: 46, right: 408, top: 8, bottom: 290 };
      const [low, high] = padded(points.flatMap((p) => [p.x, p.y]).concat(0));
      const x = scale(low, high, box.left, box.right), y = scale(low, high, box.bottom, box.top);
      const xName = ceiling ? "attainable PCC" : `PCC, ${reference()}`;
      const svg = plot(420, 326, `PCC of ${points.length} genes, ${focus()} against ${xName}`);
      const marks = ticks(low / 1000, high / 1000).map((tick) => tick * 1000);
      axes(svg, box, x, y, marks, marks, xName, `PCC, ${focus()}`, (t) => minus(t / 1000));
      svg.querySelectorAll("text[text-anchor=end]").forEach((text, i) => { text.textContent = minus(marks[i] / 1000); });
      svg.append(el("line", { class: "axis-line", x1: x(low), x2: x(high), y1: y(low), y2: y(high) }));
      for (const p of points) svg.append(el("circle", { class: "gene", cx: x(p.x), cy: y(p.y), r: 3 }));
      const picked = el("circle", { class: "picked", r: 5, visibility: "hidden" });
      svg.append(picked);
      const say = (p) => {
        picked.setAttribute("visibility", p ? "visible" : "hidden");
        if (p) { picked.setAttribute("cx", x(p.x)); picked.setAttribute("cy", y(p.y)); }
        const above = points.filter((q) => q.y > q.x).length;
        place("readout").textContent = p
          ? `${p.gene}: ${focus()} ${written(p.y / 1000)}, ${xName.replace("PCC, ", "")} ${written(p.x / 1000)}${ceiling || p.ceiling === null ? "" : `, attainable ${written(p.ceiling / 1000)}`}`
          : `${above} of ${points.length} genes are above the line. Point at a gene to read it, click to pick it.`;
      };
      const nearest = (event) => {
        const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
        const distance = (p) => Math.hypot(x(p.x) - at.x, y(p.y) - at.y);
        const best = points.reduce((a, b) => (distance(b) < distance(a) ? b : a));
        return distance(best) < 20 ? best : null;
      };
      const current = () => points.find((p) => p.gene === state.gene);
      svg.addEventListener("pointermove", (event) => say(nearest(event) || current()));
      svg.addEventListener("pointerleave", () => say(current()));
      svg.addEventListener("click", (event) => { const p = nearest(event); if (p) pick(p.gene); });
      say(current());
      place("genes").replaceChildren(svg);
    }

    function drawBars() {
      const at = data.genes.indexOf(state.gene);
      if (at < 0) return place("bars").replaceChildren(empty("There is no such gene in the panel."));
      const ceiling = data.ceiling[at];
      const rows = data.models.map((model) => [model, data.per_gene[model][at]]);
      const known = [0, ceiling, ...rows.map((row) => row[1])].filter((value) => value !== null);
      const left = labelWidth(data.models), [low, high] = [Math.min(...known), Math.max(...known)];
      const x = scale(low, high, left, 370);
      const svg = plot(420, 12 + 20 * rows.length, `${state.gene}: ${rows.map(([m, v]) => `${m} ${written(v === null ? null : v / 1000)}`).join(", ")}`);
      rows.forEach(([model, value], i) => {
        const y = 6 + 20 * i;
        svg.append(el("text", { x: left - 10, y: y + 11, "text-anchor": "end", ...(role(model) === "other" ? {} : { class: "strong" }) }, shortened(model)));
        if (value === null) return;
        svg.append(el("rect", { class: `bar-${role(model)}`, x: Math.min(x(0), x(value)), y: y + 2, width: Math.max(1, Math.abs(x(value) - x(0))), height: 11, rx: 1.5 }));
        svg.append(el("text", { x: Math.max(x(0), x(value)) + 5, y: y + 11 }, written(value / 1000)));
      });
      svg.append(el("line", { class: "axis-line", x1: x(0), x2: x(0), y1: 2, y2: 8 + 20 * rows.length }));
      if (ceiling !== null) svg.append(el("line", { class: "ceiling", x1: x(ceiling), x2: x(ceiling), y1: 2, y2: 8 + 20 * rows.length }));
      place("bars").replaceChildren(svg);
    }

    function drawCurves() {
      const fold = control("fold").value;
      const curves = data.models.flatMap((model) => ((data.curves[model] || {})[fold] || []).map((curve) => ({ model, ...curve })));
      if (!curves.length) return place("curves").replaceChildren(empty("No model of this fold has a validation PCC by epoch."));
      const order = { other: 0, reference: 1, model: 2 };
      curves.sort((a, b) => order[role(a.model)] - order[role(b.model)]);
      const box = { left: 46, right: 408, top: 8, bottom: 230 };
      const points = curves.flatMap((curve) => curve.points);
      const [low, high] = padded(points.map((p) => p[1]));
      const last = Math.max(1, ...points.map((p) => p[0]));
      const x = scale(0, last, box.left, box.right), y = scale(low, high, box.bottom, box.top);
      const svg = plot(420, 266, `Validation PCC by epoch, fold ${fold}`);
      axes(svg, box, x, y, ticks(0, last).filter(Number.isInteger), ticks(low, high), "epoch", "validation PCC");
      for (const curve of curves) {
        const line = el("polyline", { class: `curve ${role(curve.model)}`, points: curve.points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ") });
        line.append(el("title", {}, `${curve.model}, seed ${curve.seed}`));
        svg.append(line);
        if (curve.chosen && role(curve.model) !== "other") svg.append(el("circle", { class: `dot ${role(curve.model)}`, cx: x(curve.chosen[0]), cy: y(curve.chosen[1]), r: 3.5 }));
      }
      place("curves").replaceChildren(svg);
    }

    function drawCost() {
      const points = Object.entries(data.cost).filter(([, [seconds, pcc]]) => seconds > 0 && pcc !== null).map(([model, [seconds, pcc]]) => ({ model, seconds: Math.log10(seconds), pcc }));
      if (!points.length) return place("cost").replaceChildren(empty("No model has both numbers."));
      const box = { left: 46, right: 408, top: 14, bottom: 230 };
      const [left, right] = padded(points.map((p) => p.seconds), 0.12), [low, high] = padded(points.map((p) => p.pcc), 0.1);
      const x = scale(left, right, box.left, box.right), y = scale(low, high, box.bottom, box.top);
      const svg = plot(420, 266, `Seconds of training against PCC: ${points.map((p) => `${p.model} ${written(p.pcc)}`).join(", ")}`);
      const powers = [-3, -2, -1, 0, 1, 2, 3, 4, 5].filter((p) => p >= left && p <= right);
      axes(svg, box, x, y, powers.length > 1 ? powers : ticks(left, right), ticks(low, high), "seconds of training (logarithmic)", "PCC", (t) => minus(Number((10 ** t).toPrecision(2))));
      // Each name takes the first place beside its dot that is free; where none is, the dot alone tells it when pointed at.
      const taken = points.map((p) => ({ left: x(p.seconds) - 5, right: x(p.seconds) + 5, top: y(p.pcc) - 5, bottom: y(p.pcc) + 5 }));
      const order = { model: 0, reference: 1, other: 2 };
      for (const p of points.sort((a, b) => order[role(a.model)] - order[role(b.model)])) {
        const [cx, cy, width] = [x(p.seconds), y(p.pcc), 6.6 * p.model.length];
        const dot = el("circle", { class: `dot ${role(p.model)}`, cx, cy, r: 4.5 });
        dot.append(el("title", {}, `${p.model}: PCC ${written(p.pcc)}, ${Number((10 ** p.seconds).toPrecision(3))} s`));
        svg.append(dot);
        const places = [[8, 4], [-8 - width, 4], [8, -6], [-8 - width, -6], [8, 14], [-8 - width, 14], [-width / 2, -9], [-width / 2, 18]];
        const free = places.map(([dx, dy]) => ({ left: cx + dx, right: cx + dx + width, top: cy + dy - 9, bottom: cy + dy + 2 }))
          .find((a) => a.left > box.left && a.right < 420 && taken.every((b) => a.left > b.right || a.right < b.left || a.top > b.bottom || a.bottom < b.top));
        if (!free) continue;
        taken.push(free);
        svg.append(el("text", { x: free.left, y: free.bottom - 2, ...(role(p.model) === "other" ? {} : { class: "strong" }) }, p.model));
      }
      place("cost").replaceChildren(svg);
    }

    function pick(gene) {
      state.gene = gene;
      control("gene").value = gene;
      drawBars();
      drawGenes();
    }

    const models = data.models.map((model) => [model, model]);
    fill(control("focus"), models, data.focus);
    fill(control("reference"), models, data.reference);
    fill(control("section"), sections.map(([key, s]) => [key, s.name === s.fold ? s.name : `${s.name} (fold ${s.fold})`]), sections[0][0]);
    const folds = [...new Set(sections.map(([, section]) => section.fold))];
    fill(control("fold"), folds.map((fold) => [fold, fold]), folds[0]);
    root.querySelector("datalist").replaceChildren(...data.genes.map((gene) => new Option(gene, gene)));
    const drawAll = () => { drawSections(); drawMaps(); drawGenes(); drawBars(); drawCurves(); drawCost(); };
    for (const name of ["focus", "reference"]) control(name).addEventListener("change", drawAll);
    for (const name of ["section", "mapped", "shared"]) control(name).addEventListener("change", drawMaps);
    control("against").addEventListener("change", drawGenes);
    control("fold").addEventListener("change", drawCurves);
    control("gene").addEventListener("input", () => {
      const typed = control("gene").value.trim().toUpperCase();
      const gene = data.genes.find((name) => name.toUpperCase() === typed);
      state.gene = gene || null;
      drawBars();
      drawGenes();
    });
    // The first gene shown is the one that could be predicted best.
    state.gene = data.genes[data.ceiling.reduce((best, value, i) => (value > data.ceiling[best] ? i : best), 0)];
    control("gene").value = state.gene;
    drawAll();
  }

  for (const root of document.querySelectorAll(".explore")) explore(root);
})();
