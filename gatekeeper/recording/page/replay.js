"use strict";
(() => {
  const records = JSON.parse(document.getElementById("records").textContent);
  const app = document.getElementById("app");

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined && text !== null) node.textContent = text;
    return node;
  };
  const clock = (seconds) => {
    const s = Math.max(0, seconds);
    const part = (n) => String(Math.floor(n)).padStart(2, "0");
    return `${s >= 3600 ? part(s / 3600) + ":" : ""}${part((s / 60) % 60)}:${part(s % 60)}`;
  };
  const refused = (r) => r.verdict === "block" || r.verdict === "reject"
    || (r.approval && r.approval.decision !== "approved");
  const failed = (r) => r.kind === "statement" && /^(?=.*\d)[0-9A-Z]{5}$/.test(r.outcome || "");

  if (!records.length) {
    app.append(make("p", "", "Nothing was recorded."));
    return;
  }

  const first = records[0];
  const start = first.at;
  const length = Math.max(0.001, ...records.map((r) => r.at - start + (r.duration_ms || 0) / 1000));

  const header = make("header");
  const title = make("h1", "", `${first.subject} as ${first.grant} on ${first.database} `);
  title.append(make("span", "", `session ${first.session}, ${new Date(start * 1000).toISOString()}`));
  const bar = make("div", "bar");
  const button = (text, label, action) => {
    const node = make("button", "", text);
    node.type = "button";
    node.title = label;
    node.setAttribute("aria-label", label);
    node.addEventListener("click", action);
    bar.append(node);
    return node;
  };

  let position = 0;
  let speed = 1;
  let playing = false;
  let last = 0;
  const IDLE = 2; // a longer pause is passed over in this many seconds

  const play = button("▶", "play or pause (space)", () => toggle());
  button("◀", "one back (left)", () => step(-1));
  button("▶|", "one on (right)", () => step(1));
  button("⚑", "next refused or held (n)", () => flagged());
  button("−", "slower (-)", () => faster(0.5));
  const rate = make("span", "clock", "1×");
  rate.style.minWidth = "3rem";
  bar.append(rate);
  button("+", "faster (+)", () => faster(2));
  const slider = make("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = length;
  slider.step = "any";
  slider.value = 0;
  slider.setAttribute("aria-label", "position");
  slider.addEventListener("input", () => seek(Number(slider.value)));
  bar.append(slider);
  const time = make("span", "clock");
  time.setAttribute("aria-live", "off");
  bar.append(time);
  header.append(title, bar);

  const main = make("main");
  const nodes = records.map((record) => {
    const node = make("article", refused(record) || failed(record) ? "bad" : record.approval ? "hold" : "");
    if (record.kind !== "statement") node.classList.add("event");
    const meta = make("div", "meta");
    meta.append(make("span", "", `+${clock(record.at - start)}`));
    meta.append(make("b", "", record.kind === "statement" ? record.tags.join(", ") : record.kind.replace("_", " ")));
    if (record.verdict && record.verdict !== "allow") {
      const text = record.verdict + (record.guards.length ? ` by ${record.guards.join(", ")}` : "");
      meta.append(make("span", refused(record) ? "bad" : "hold", text));
    }
    if (record.approval) {
      const who = record.approval.decisions.map((d) => d.who + (d.reason ? ` (${d.reason})` : "")).join(", ");
      const good = record.approval.decision === "approved";
      meta.append(make("span", good ? "good" : "bad", record.approval.decision + (who ? ` by ${who}` : "")));
    }
    if (record.kind === "statement") {
      const outcome = record.outcome === null ? "outcome not known" : record.outcome;
      meta.append(make("span", failed(record) ? "bad" : "", outcome));
      if (record.rows !== null) meta.append(make("span", "", `${record.rows} rows`));
      if (record.duration_ms !== null) meta.append(make("span", "", `${record.duration_ms.toFixed(1)} ms`));
      if (record.masked_columns.length) meta.append(make("span", "", `masked: ${record.masked_columns.join(", ")}`));
    }
    node.append(meta);
    if (record.sql !== null) node.append(make("pre", "", record.sql));
    if (record.detail) node.append(make("div", "", record.detail));
    if (record.params && record.params.length) {
      const shown = record.params.map((p, i) => `$${i + 1} = ${p === null ? "NULL" : p}`).join("   ");
      node.append(make("pre", "meta", shown));
    }
    if (record.sample_columns.length) {
      const table = make("table");
      const head = make("tr");
      for (const name of record.sample_columns) head.append(make("th", "", name));
      table.append(head);
      for (const row of record.sample_rows) {
        const line = make("tr");
        for (const cell of row) line.append(cell === null ? make("td", "null", "NULL") : make("td", "", cell));
        table.append(line);
      }
      const box = make("div", "scroll");
      box.append(table);
      node.append(box);
      if (record.rows > record.sample_rows.length) {
        node.append(make("div", "meta", `${record.sample_rows.length} of ${record.rows} rows were recorded`));
      }
    }
    main.append(node);
    return node;
  });
  app.append(header, main);

  let shown = -1;
  const draw = (scroll) => {
    slider.value = position;
    time.textContent = `${clock(position)} / ${clock(length)}`;
    play.textContent = playing ? "⏸" : "▶";
    rate.textContent = `${speed}×`;
    let now = -1;
    records.forEach((record, index) => {
      const visible = record.at - start <= position + 1e-9;
      nodes[index].hidden = !visible;
      if (visible) now = index;
    });
    if (now !== shown) {
      if (nodes[shown]) nodes[shown].classList.remove("now");
      shown = now;
      if (nodes[now]) {
        nodes[now].classList.add("now");
        if (scroll) nodes[now].scrollIntoView({ block: "center" });
      }
    }
  };
  const seek = (to) => {
    position = Math.min(length, Math.max(0, to));
    draw(true);
  };
  const step = (by) => {
    playing = false;
    const index = Math.min(records.length - 1, Math.max(0, shown + by));
    seek(records[index].at - start);
  };
  const flagged = () => {
    const next = records.findIndex((r, i) => i > shown && (refused(r) || r.approval));
    if (next >= 0) seek(records[next].at - start);
  };
  const faster = (by) => {
    speed = Math.min(64, Math.max(0.25, speed * by));
    draw(false);
  };
  const toggle = () => {
    playing = !playing;
    if (playing && position >= length) position = 0;
    last = performance.now();
    draw(true);
    if (playing) requestAnimationFrame(tick);
  };
  const tick = (now) => {
    if (!playing) return;
    const passed = ((now - last) / 1000) * speed;
    last = now;
    const next = records.find((r) => r.at - start > position + 1e-9);
    const wait = next ? next.at - start - position : length - position;
    position = Math.min(length, position + (wait > IDLE * speed ? passed * (wait / (IDLE * speed)) : passed));
    if (position >= length) playing = false;
    draw(true);
    if (playing) requestAnimationFrame(tick);
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = {
      " ": toggle, ArrowRight: () => step(1), ArrowLeft: () => step(-1), n: flagged,
      "+": () => faster(2), "-": () => faster(0.5), Home: () => seek(0), End: () => seek(length),
    }[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  // All of it is there to be read and searched; play starts from the beginning.
  position = length;
  draw(false);
  document.documentElement.dataset.ready = "yes";
})();
