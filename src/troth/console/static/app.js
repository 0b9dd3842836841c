// The console's own program: what HTML does not do by itself. Pages work without it; see docs/operating/console.md.
(() => {
  "use strict";
  const page = document.documentElement;
  const one = (selector, root = document) => root.querySelector(selector);
  page.classList.add("has-js");

  // What somebody likes, kept in cookies, so that the server renders it and nothing flickers.
  const keep = (name, value) => {
    const path = one("body").dataset.path;
    document.cookie = `${name}=${value.replace(/[^\w/+-]/g, "")};path=${path};max-age=31536000;samesite=lax`;
    location.reload();
  };
  const looks = { auto: "light", light: "dark", dark: "auto" };
  const turnLook = () => keep("troth_console_look", looks[page.dataset.look] || "light");
  const turnZone = () => {
    const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
    keep("troth_console_zone", one("#zone").textContent === "UTC" ? local : "UTC");
  };

  // Following what happens: a stream of signs that something has changed, and the page reads itself again. What the page has
  // seen is in #content, so that a stream that is opened anew tells what was missed, and what could not be read is read again.
  // A paused page asks for nothing, also when its window comes to the front again; nor does one that is behind others.
  const PAUSED = "troth.console.paused";
  const live = { on: false, stream: null, tries: 0, told: "", waits_ms: 0 };
  const say = (words) => { one("#announce").textContent = words; };
  const label = (words, lost) => {
    const button = one("#live");
    if (!button) return;
    one("#live-word").textContent = words;
    button.setAttribute("aria-pressed", String(live.on));
    button.classList.toggle("lost", Boolean(lost));
  };
  const refresh = () => document.body.dispatchEvent(new CustomEvent("refresh"));
  const seen = () => one("#content").dataset.seen;
  const leave = () => {
    live.stream?.close();
    clearTimeout(live.opens);
    clearTimeout(live.looks);
  };
  const look = () => { // was what the stream told of read?
    clearTimeout(live.looks);
    if (live.told === seen()) return;
    refresh();
    live.waits_ms = Math.min(60000, 2 * live.waits_ms);
    live.looks = setTimeout(look, live.waits_ms);
  };
  const open = () => {
    leave();
    live.stream = new EventSource(`${one("#stream").dataset.connect}&seen=${seen()}`);
    live.stream.onopen = () => { live.tries = 0; label("Live"); };
    live.stream.onerror = () => { // its time is over, or it is lost: what browsers do by themselves differs
      leave();
      if (live.tries) { label("Lost…", true); refresh(); } // who is not known any more is led to the door
      live.opens = setTimeout(open, Math.min(30000, 500 * 2 ** live.tries++) * (0.7 + 0.6 * Math.random()));
    };
    live.stream.addEventListener("changed", (event) => {
      live.told = event.lastEventId;
      live.waits_ms = 1000;
      look();
    });
  };
  const follow = () => {
    if (!one("#stream")) return;
    live.on = true;
    label("…");
    if (!document.hidden) open();
  };
  const turnLive = () => {
    if (!one("#live")) return;
    if (live.on) { leave(); live.on = false; label("Paused"); } else follow();
    localStorage.setItem(PAUSED, live.on ? "" : "yes");
    say(live.on ? "The page follows what happens" : "Paused");
  };
  document.addEventListener("visibilitychange", () => { if (live.on) (document.hidden ? leave : open)(); });

  // Forms of acts open over the page.
  const dialog = () => one("#dialog");
  addEventListener("htmx:after:swap", () => {
    const body = one("#dialog-body");
    if (body.childElementCount && !dialog().open) dialog().showModal();
  });
  const closeDialog = () => dialog().open && dialog().close();
  const closed = () => { one("#dialog-body").replaceChildren(); refresh(); };

  // Copying; without a clipboard (no HTTPS) the text is selected instead.
  const copy = async (button) => {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      const beside = button.parentElement.querySelector("code");
      if (beside) getSelection().selectAllChildren(beside);
      button.textContent = "Selected";
    }
    say(button.textContent);
    setTimeout(() => { button.textContent = words; }, 1500);
  };

  document.addEventListener("click", (event) => {
    const on = (selector) => event.target.closest(selector);
    if (on("#look")) turnLook();
    else if (on("#zone")) turnZone();
    else if (on("#live")) turnLive();
    else if (on("#keys")) one("#help").showModal();
    else if (on("[data-copy]")) copy(on("[data-copy]"));
    else if (on("[data-close]")) { if (dialog().open) closeDialog(); else history.back(); }
    else if (event.target === dialog()) closeDialog();
  });

  // Keys.
  let going = 0;
  const rows = () => [...document.querySelectorAll("#content tbody tr a[href]:first-of-type")].filter((a, i, all) => all.findIndex((b) => b.closest("tr") === a.closest("tr")) === i);
  const step = (by) => {
    const all = rows();
    const here = all.findIndex((a) => a.closest("tr").contains(document.activeElement));
    all[Math.max(0, Math.min(all.length - 1, here < 0 ? 0 : here + by))]?.focus();
  };
  const keys = {
    "?": () => one("#help").showModal(),
    "/": () => one("#jump")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    n: () => one("a[rel=next]")?.click(),
    p: turnLive,
    t: turnLook,
    u: turnZone,
    g: () => {
      going = Date.now();
      document.body.classList.add("going");
      setTimeout(() => document.body.classList.remove("going"), 1500);
    },
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.id === "jump") event.target.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const there = one(`#menu [data-key="${CSS.escape(event.key)}"]`);
      if (there) { event.preventDefault(); location.href = there.href; return; }
    }
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  // Charts: <figure class="chart" data-chart='{"title", "x": [seconds], "series": [{"label", "tone", "values"}]}'>. What is
  // drawn stays when the page is read again; it is only told the new numbers.
  const charts = new WeakMap();
  const sizeOf = (figure) => ({ width: figure.clientWidth - 16, height: 170 });
  const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]]; // so that colours do not stand alone
  const chart = (figure) => {
    const drawn = charts.get(figure);
    if (!window.uPlot || drawn?.told === figure.dataset.chart) return;
    const told = JSON.parse(figure.dataset.chart);
    const numbers = [told.x, ...told.series.map((each) => each.values)];
    if (drawn) { drawn.told = figure.dataset.chart; drawn.plot.setData(numbers); return; }
    const ink = (name) => getComputedStyle(page).getPropertyValue(name);
    const canvas = document.createElement("canvas").getContext("2d");
    const colour = (name) => { // light-dark() is for style sheets: a probe says which of the two it is
      const probe = document.body.appendChild(document.createElement("i"));
      probe.className = name;
      canvas.fillStyle = getComputedStyle(probe).color;
      probe.remove();
      return canvas.fillStyle;
    };
    const axis = { stroke: colour("dim"), grid: { stroke: colour("hair"), width: 1 }, ticks: { stroke: colour("hair"), width: 1 }, font: `11px ${ink("font-family") || "sans-serif"}` };
    const whole = (_, marks) => marks.map((each) => (Number.isInteger(each) ? each.toLocaleString("en") : ""));
    const zone = one("#zone")?.textContent || "UTC";
    const local = (at) => uPlot.tzDate(new Date(at * 1e3), zone);
    const hour = uPlot.fmtDate("{HH}:{mm}"), day = uPlot.fmtDate("{MM}-{DD}");
    const hours = (_, marks) => marks.map(local).map((at) => (at.getHours() || at.getMinutes() ? hour(at) : day(at)));
    const plot = new uPlot({
      ...sizeOf(figure), title: told.title, tzDate: local,
      axes: [{ ...axis, values: hours, size: 30 }, { ...axis, values: whole, size: 44 }], scales: { y: { range: (_, _low, high) => [0, Math.max(4, high * 1.1)] } },
      series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...told.series.map((each, i) => ({ label: each.label, stroke: colour(each.tone), width: 1.5, dash: DASHES[i % DASHES.length], points: { show: false } }))],
    }, numbers, figure);
    charts.set(figure, { plot, told: figure.dataset.chart });
  };
  addEventListener("resize", () => document.querySelectorAll(".chart[data-chart]").forEach((figure) => charts.get(figure)?.plot.setSize(sizeOf(figure))));
  const draw = () => document.querySelectorAll(".chart[data-chart]").forEach(chart);
  addEventListener("htmx:after:swap", draw);

  document.addEventListener("DOMContentLoaded", () => {
    dialog().addEventListener("close", closed);
    if (localStorage.getItem(PAUSED) === "yes") label("Paused");
    else setTimeout(follow); // after htmx, which begins in a timer that is older
    draw();
  });
})();
