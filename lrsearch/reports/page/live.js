"use strict";
// What changed since the page was loaded: asked for every two seconds, put in its place.
(() => {
  const EVERY = 2000;
  const SLOW = 15000;
  const body = document.body;
  const status = document.getElementById("status");
  const held = new Map();
  const shown = new Map();
  let at = body.dataset.at;
  let order = [];
  let since = "";
  let waiting = 0;
  let asking = false;

  function tell(text) {
    if (status.textContent === text) return;
    status.textContent = text;
    status.hidden = !text;
  }

  // What the reader did to a part outlives its replacement: what is open, chosen, typed, focused.
  const ALL = "a[href], button, input, summary, [tabindex]";
  function keep(old, fresh) {
    const pairs = (css) => {
      const found = [...fresh.querySelectorAll(css)];
      return [...old.querySelectorAll(css)].map((each, place) => [each, found[place]]);
    };
    for (const [was, is] of pairs("details")) {
      const title = (each) => each && each.querySelector("summary").textContent;
      if (is && (is.className === was.className || title(is) === title(was))) is.open = was.open;
    }
    for (const [was, is] of pairs("input")) {
      if (is && was.type === "radio") is.checked = was.checked;
      else if (is) is.value = was.value;
    }
    const scrolled = pairs(".scroll, pre").filter(([was, is]) => is && (was.scrollLeft || was.scrollTop))
      .map(([was, is]) => [is, was.scrollLeft, was.scrollTop]);
    const settle = () => scrolled.forEach(([is, left, top]) => is.scrollTo(left, top));
    const focused = document.activeElement;
    if (!old.contains(focused)) return settle;
    const place = [...old.querySelectorAll(ALL)].indexOf(focused);
    const span = "selectionStart" in focused ? [focused.selectionStart, focused.selectionEnd] : null;
    const { id, dataset: { t } } = focused;
    return () => {
      settle();
      const again = (id && document.getElementById(id)) || (t && fresh.querySelector(`.row[data-t="${t}"]`)) ||
        [...fresh.querySelectorAll(ALL)][place];
      if (!again) return;
      again.focus({ preventScroll: true });
      if (span && span[0] !== null && again.setSelectionRange) again.setSelectionRange(...span);
    };
  }

  function busy(element) {
    const chosen = getSelection();
    return !chosen.isCollapsed && element.contains(chosen.anchorNode);
  }

  function put(id, html) {
    const old = document.getElementById(id);
    if (id === "data") {
      old.textContent = html;
      return () => {};
    }
    if (old && busy(old)) return null;
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const fresh = holder.content.firstElementChild;
    let settle = () => {};
    if (old) {
      settle = keep(old, fresh);
      old.replaceWith(fresh);
    } else {
      const after = order.slice(order.indexOf(id) + 1).map((each) => document.getElementById(each)).find(Boolean);
      if (after) after.before(fresh);
      else document.getElementById("main").append(fresh);
    }
    return settle;
  }

  function take(news) {
    if (news.kind !== body.dataset.kind) {
      location.reload();
      return;
    }
    [at, order] = [news.at, news.order];
    for (const [id, html] of Object.entries(news.parts)) {
      if (shown.get(id) !== html) held.set(id, html);
    }
    for (const section of document.querySelectorAll("main > section")) {
      if (!order.includes(section.id)) section.remove();
    }
    // The table and what it is made of go together.
    const tied = ["trials", "data"];
    const blocked = document.getElementById("trials") && busy(document.getElementById("trials"));
    const settling = [];
    let renewed = false;
    for (const [id, html] of [...held]) {
      const settle = blocked && tied.includes(id) ? null : put(id, html);
      if (!settle) continue;
      held.delete(id);
      shown.set(id, html);
      renewed = renewed || id !== "now";
      settling.push(settle);
    }
    if (renewed) document.dispatchEvent(new Event("renew"));
    for (const settle of settling) settle();
  }

  async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(waiting);
    const address = new URL("news", location.href);
    address.search = location.search;
    address.searchParams.set("at", at);
    try {
      const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(60000) });
      if (!answer.ok) throw new Error(String(answer.status));
      take(await answer.json());
      since = new Date().toLocaleTimeString();
      tell("");
    } catch (error) {
      tell(`lrsearch serve does not answer${since ? `: what is shown is of ${since}` : ""}. ` +
        "Where it has ended, begin it again and open its new address.");
    }
    asking = false;
    waiting = setTimeout(ask, document.hidden ? SLOW : EVERY);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask();
  });
  waiting = setTimeout(ask, EVERY);
})();
