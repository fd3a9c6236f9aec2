"use strict";
// Selection, hover, sorting and filtering. The page is complete without any of it.
(() => {
  const $ = (name) => document.getElementById(name);
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 50;
  const MORE = 500;
  const PRINTED = 1000;

  function make(tag, attributes, ...children) {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== false && value !== null) found.setAttribute(name, value === true ? "" : value);
    }
    found.append(...children);
    return found;
  }

  function draw(tag, attributes, text) {
    const found = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
    if (text !== undefined) found.textContent = text;
    return found;
  }

  // The theme: as the system has it, light or dark.
  const themes = ["auto", "light", "dark"];
  const theme = $("theme");
  function setTheme(name) {
    if (name === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", name);
    theme.textContent = `Theme: ${name}`;
    theme.dataset.name = name;
  }
  let kept = "auto";
  try {
    kept = localStorage.getItem("lrsearch-theme") || "auto";
  } catch (error) { /* A file may have no storage. */ }
  setTheme(themes.includes(kept) ? kept : "auto");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    setTheme(themes[(themes.indexOf(theme.dataset.name) + 1) % themes.length]);
    try {
      localStorage.setItem("lrsearch-theme", theme.dataset.name);
    } catch (error) { /* It lasts as long as the page. */ }
  });

  // Copying.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch (error) {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  // Printing shows what is folded.
  let folded = [];
  let whole = null;
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const each of folded) each.open = true;
    if (whole) whole(true);
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
    if (whole) whole(false);
  });

  // What was chosen stays chosen where the page is filled anew.
  const chosen = { column: "", down: false, most: PAGE, trial: null };
  let release = () => {};
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") release();
  });

  function begin() {
    for (const button of document.querySelectorAll(".copy")) button.hidden = false;
    [whole, release] = [null, () => {}];
    const data = $("data") ? JSON.parse($("data").textContent) : { rows: [] };
    const { head, numeric, curves, told, run } = data;
    const rest = $("rest") ? $("rest").querySelector("pre").textContent.split("\n").slice(1) : [];
    // Cells are the texts that the page shows; what is a number is compared as one.
    const rows = data.rows.concat(rest.map((line) => line.split("\t")));
    if (!rows.length) return;
    const read = (row, place) => (numeric[place] && row[place] !== "" ? Number(row[place]) : row[place]);
    const byNumber = new Map(rows.map((row) => [Number(row[0]), row]));

    // The filter: words, and conditions such as lr > 0.01, divided by blanks or "and".
    const names = new Map();
    head.forEach((name, place) => {
      names.set(name.toLowerCase(), place);
      const last = name.toLowerCase().split(".").pop();
      if (!names.has(last)) names.set(last, place);
    });
    const CONDITION = /("[^"]+"|[^\s<>=!"]+)\s*(==|!=|<=|>=|=|<|>)\s*("[^"]*"|[^\s"]+)/g;
    const unquote = (text) => text.replace(/^"|"$/g, "");

    function compare(left, sign, right) {
      if (typeof left === "number" && right !== "" && !Number.isNaN(Number(right))) {
        const number = Number(right);
        const same = Math.abs(left - number) <= 1e-4 * Math.abs(number);
        return { "=": same, "==": same, "!=": !same, "<": left < number, ">": left > number,
          "<=": left <= number || same, ">=": left >= number || same }[sign];
      }
      const a = String(left).toLowerCase();
      const b = right.toLowerCase();
      return { "=": a === b, "==": a === b, "!=": a !== b }[sign] || false;
    }

    function parse(text) {
      const tests = [];
      const unknown = [];
      const words = text.replace(CONDITION, (whole, name, sign, value) => {
        const place = names.get(unquote(name).toLowerCase());
        if (place === undefined) unknown.push(unquote(name));
        else tests.push((row) => compare(read(row, place), sign, unquote(value)));
        return " ";
      });
      for (const word of words.toLowerCase().split(/\s+/)) {
        if (word && word !== "and" && word !== "&&") {
          tests.push((row) => row.some((cell) => cell.toLowerCase().includes(word)));
        }
      }
      return { tests, unknown };
    }

    // The table.
    const body = $("all").tBodies[0];
    const headers = [...$("all").tHead.rows[0].cells];
    const strands = new Map();
    for (const strand of document.querySelectorAll(".strand")) {
      strands.set(Number(strand.dataset.t), strand);
    }
    let shown = rows;
    let sorted = { place: head.indexOf(chosen.column), down: chosen.down };
    let most = chosen.most;
    let picked = byNumber.has(chosen.trial) ? chosen.trial : null;

    function order(left, right) {
      const [a, b] = [read(left, sorted.place), read(right, sorted.place)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const by = numeric[sorted.place] ? a - b : a.localeCompare(b, undefined, { numeric: true });
      return sorted.down ? -by : by;
    }

    function fill() {
      const lines = shown.slice(0, most).map((row) => {
        const number = Number(row[0]);
        const button = make("button", { type: "button", class: "row", "data-t": number,
          "aria-pressed": String(number === picked), "aria-label": `Trial ${number}` }, String(number));
        const line = make("tr", { class: number === picked && "on" }, make("td", {}, button));
        for (const cell of row.slice(1)) line.append(make("td", {}, cell));
        return line;
      });
      body.replaceChildren(...lines);
      const left = shown.length - most;
      $("more").hidden = left <= 0;
      if (left > 0) {
        const button = make("button", { type: "button" }, `Show ${Math.min(left, MORE)} more of ${left}`);
        button.addEventListener("click", () => {
          const at = most;
          most = chosen.most = most + MORE;
          fill();
          body.rows[at].querySelector("button").focus();
        });
        $("more").replaceChildren(button);
      }
    }

    whole = (all) => {
      most = all ? Math.max(most, PRINTED) : chosen.most;
      fill();
    };

    function refresh() {
      const { tests, unknown } = parse($("filter").value);
      shown = rows.filter((row) => tests.every((test) => test(row)));
      if (sorted.place >= 0) shown.sort(order);
      $("count").textContent = unknown.length
        ? `no column ${unknown.join(", ")}: ${head.join(", ")}`
        : `${shown.length} of ${rows.length} trials`;
      const present = new Set(shown.map((row) => Number(row[0])));
      for (const [number, strand] of strands) strand.classList.toggle("dim", !present.has(number));
      fill();
    }

    headers.forEach((cell, place) => {
      const button = make("button", { type: "button" }, cell.textContent);
      button.addEventListener("click", () => {
        sorted = { place, down: sorted.place === place ? !sorted.down : numeric[place] && place === 1 && data.goal === "max" };
        [chosen.column, chosen.down, most, chosen.most] = [head[place], sorted.down, PAGE, PAGE];
        for (const each of headers) each.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
        refresh();
      });
      if (sorted.place === place) cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      cell.replaceChildren(button);
    });
    let waiting = 0;
    $("filter").addEventListener("input", () => {
      clearTimeout(waiting);
      most = chosen.most = PAGE;
      waiting = setTimeout(refresh, 80);
    });
    $("controls").hidden = false;
    if ($("rest")) $("rest").hidden = true;
    refresh();

    // The chosen trial.
    function plot(name, steps, low, high, levels) {
      const [width, height, left, bottom] = [320, 190, 50, 26];
      const last = steps[steps.length - 1] || 1;
      const across = (step) => left + (step / last) * (width - left - 10);
      const down = (level) => height - bottom - (level / 999) * (height - bottom - 12);
      let path = "";
      let open = false;
      levels.forEach((level, index) => {
        if (level !== null) path += `${open ? "L" : "M"}${across(steps[index]).toFixed(1)} ${down(level).toFixed(1)}`;
        open = level !== null;
      });
      const svg = draw("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img",
        "aria-label": `${name} by step, from ${low} to ${high}` });
      svg.append(
        draw("path", { class: "axis", d: `M${left} ${height - bottom}H${width - 10}` }),
        draw("path", { class: "curve", d: path }),
        draw("text", { x: left - 6, y: down(999), dy: "0.32em", "text-anchor": "end" }, high),
        draw("text", { x: left - 6, y: down(0), dy: "0.32em", "text-anchor": "end" }, low),
        draw("text", { x: left, y: height - 8 }, "step 0"),
        draw("text", { x: width - 10, y: height - 8, "text-anchor": "end" }, String(last)));
      return make("div", { class: "panel" }, make("p", { class: "panel-title" }, name), svg);
    }

    function describe(number) {
      const row = byNumber.get(number);
      const panel = $("picked");
      const close = make("button", { type: "button", class: "close" }, "Close");
      close.addEventListener("click", () => pick(null));
      const facts = make("dl", { class: "params" });
      head.forEach((name, place) => {
        if (place && row[place]) facts.append(make("div", {}, make("dt", {}, name), make("dd", {}, row[place])));
      });
      panel.replaceChildren(close, make("h3", {}, `Trial ${number}`), facts);
      for (const text of (told[number] || []).map((place) => data.texts[place])) panel.append(make("p", {}, text));
      const curve = curves[number];
      if (curve) {
        const panels = make("div", { class: "panels" });
        for (const [name, values] of Object.entries(curve)) {
          if (name !== "step") panels.append(plot(name, curve.step, ...values));
        }
        panel.append(panels);
      } else {
        panel.append(make("p", { class: "note" }, "Its curve is not in this page."));
      }
      panel.append(make("p", { class: "note" }, `All of it: lrsearch report ${run} --trial ${number}`));
      panel.hidden = false;
    }

    function halo(number) {
      for (const old of document.querySelectorAll(".halo")) old.remove();
      for (const strand of strands.values()) strand.classList.remove("on");
      if (number === null) return;
      const strand = strands.get(number);
      if (strand) {
        strand.classList.add("on");
        strand.parentNode.append(strand);
      }
      for (const [name, flat] of Object.entries(data.picks)) {
        for (let place = 0; place < flat.length; place += 3) {
          if (flat[place + 2] === number) {
            $(name).append(draw("circle", { class: "halo", cx: flat[place], cy: flat[place + 1], r: 8, fill: "none" }));
          }
        }
      }
    }

    function pick(number) {
      picked = chosen.trial = number;
      for (const button of body.querySelectorAll(".row")) {
        const on = Number(button.dataset.t) === number;
        button.setAttribute("aria-pressed", String(on));
        button.closest("tr").className = on ? "on" : "";
      }
      halo(number);
      if (number === null) $("picked").hidden = true;
      else describe(number);
    }

    body.addEventListener("click", (event) => {
      const line = event.target.closest("tr");
      if (!line || String(getSelection())) return;
      const number = Number(line.querySelector(".row").dataset.t);
      pick(number === picked ? null : number);
    });
    body.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      const line = event.target.closest("tr");
      if (!step || !line) return;
      const next = body.rows[line.sectionRowIndex + step];
      if (next) next.querySelector(".row").focus();
      event.preventDefault();
    });
    release = () => {
      if (picked === null) return;
      const button = body.querySelector(`.row[data-t="${picked}"]`);
      pick(null);
      if (button) button.focus();
    };

    // Points of the figures.
    const tip = $("tip");
    function nearest(svg, flat, event) {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      let [found, least] = [null, 15 ** 2];
      for (let place = 0; place < flat.length; place += 3) {
        const far = (flat[place] - x) ** 2 + (flat[place + 1] - y) ** 2;
        if (far < least) [found, least] = [flat[place + 2], far];
      }
      return found;
    }
    for (const [name, flat] of Object.entries(data.picks)) {
      const svg = $(name);
      svg.setAttribute("data-picks", "");
      svg.addEventListener("mousemove", (event) => {
        const number = nearest(svg, flat, event);
        tip.hidden = number === null;
        if (number === null) return;
        const row = byNumber.get(number);
        tip.textContent = `trial ${number}: ${head[1]} ${row[1] || row[2]}, ` +
          head.slice(data.begin).map((each, place) => [each, row[place + data.begin]])
            .filter(([, text]) => text).slice(0, 4).map((each) => each.join(" ")).join(", ");
        tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 260)}px`;
        tip.style.top = `${event.clientY + 14}px`;
      });
      svg.addEventListener("mouseleave", () => { tip.hidden = true; });
      svg.addEventListener("click", (event) => {
        const number = nearest(svg, flat, event);
        if (number === null) return;
        pick(number);
        $("picked").scrollIntoView({ block: "center" });
        $("picked").focus({ preventScroll: true });
      });
    }
    if (picked !== null) pick(picked);
    document.documentElement.dataset.ready = "true";
  }

  begin();
  document.addEventListener("renew", begin);
})();
