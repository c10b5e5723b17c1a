"use strict";
// The browser over a run's held-out rows: filters, pages, and texts with their differences marked.
// Texts reach the page as text nodes only, so that none is ever taken for markup.
(() => {
  const PAGE = 20;
  const LINE = 200;
  const data = JSON.parse(document.getElementById("rows").textContent);
  const box = document.getElementById("browser");
  const form = box.querySelector("form");
  const count = document.getElementById("count");
  const list = document.getElementById("found");
  const head = list.tHead;
  const models = data.models.map(([key, name]) => ({ key, name }));
  const place = (key) => models.findIndex((model) => model.key === key);
  const student = place("student");
  const haystacks = new Map();
  let found = data.rows;
  let page = 0;

  const written = (text) => text.t.filter((_, index) => index % 3 !== 1).join("");

  const haystack = (row) => {
    if (!haystacks.has(row)) {
      const texts = row.texts.filter(Boolean).map(written);
      haystacks.set(row, [row.id, row.source, row.truth, ...texts].join("\n").toLowerCase());
    }
    return haystacks.get(row);
  };

  // Each says whether a row passes; a row of which a thing is not known passes neither "yes" nor "no".
  const tests = () => {
    const wanted = (name) => (form.elements[name] ? form.elements[name].value : "");
    const asked = [];
    const yesOrNo = (name, told) => {
      if (wanted(name)) asked.push((row) => told(row) === (wanted(name) === "yes"));
    };
    if (wanted("kind")) asked.push((row) => row.kinds.includes(Number(wanted("kind"))));
    yesOrNo("answerable", (row) => row.answerable);
    models.forEach((model, index) => yesOrNo("right " + model.key, (row) => row.texts[index]?.r));
    yesOrNo("agree", (row) => row.texts[student]?.a);
    const words = wanted("search").toLowerCase();
    if (words) asked.push((row) => haystack(row).includes(words));
    return asked;
  };

  // Control characters as pictures, as in the rest of the page.
  const visible = (text) =>
    text.replaceAll("\r\n", "\n").replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (sign) =>
      sign === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + sign.charCodeAt(0)));

  const element = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  // What the other text has and this one has not is left out: the other stands beside it.
  const pre = (text, pieces) => {
    if (!pieces) return element("pre", "", visible(text));
    const parts = pieces.flatMap((piece, index) => {
      if (!piece || index % 3 === 1) return [];
      return index % 3 ? [element("ins", "", visible(piece))] : [visible(piece)];
    });
    return element("pre", "", ...parts);
  };

  const heading = (scope, span, ...children) => {
    const made = element("th", "", ...children);
    made.scope = scope;
    if (span > 1) made.colSpan = span;
    return made;
  };

  const cell = (text, name, marks) => {
    if (!text) return element("td", "");
    const word = text.r ? "right" : "wrong";
    const made = element("td", word, element("span", "unseen", word + ": "), pre(written(text), marks && text[marks]));
    made.dataset.column = name;
    return made;
  };

  const example = (row) => {
    const marks = form.elements.marks ? form.elements.marks.value : "t";
    const line = visible(row.source.trim().split(/\s+/).join(" ").slice(0, LINE));
    const summary = element("summary", "", element("span", "", line), " ", element("small", "id", visible(row.id)));
    const source = element("details", "", summary);
    source.addEventListener("toggle", () => {
      if (source.open && source.childElementCount === 1) source.append(pre(row.source));
    });
    const truth = heading("row", 1, pre(row.truth));
    truth.dataset.column = "truth";
    const cells = models.map((model, index) => cell(row.texts[index], model.name, marks));
    const first = element("tr", "", heading("row", models.length + 1, source));
    return element("tbody", "example", first, element("tr", "", truth, ...cells));
  };

  const listed = (rows) => rows.flatMap((row, index) => {
    if (index && rows[index - 1].outcome === row.outcome) return [example(row)];
    const title = heading("rowgroup", models.length + 1, data.outcomes[row.outcome]);
    return [element("tbody", "", element("tr", "", title)), example(row)];
  });

  const show = () => {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const start = page * PAGE;
    list.replaceChildren(head, ...listed(found.slice(start, start + PAGE)));
    const rows = `${found.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} rows`;
    const where = `page ${page + 1} of ${pages}`;
    count.textContent = `${rows}, ${where}`;
    box.querySelector("[data-place]").textContent = where;
    for (const button of box.querySelectorAll("[data-step]")) {
      const next = page + Number(button.dataset.step);
      // Not `disabled`: that would take the focus from under the reader's hands.
      button.setAttribute("aria-disabled", String(next < 0 || next >= pages));
    }
  };

  const filter = () => {
    const asked = tests();
    found = data.rows.filter((row) => asked.every((passes) => passes(row)));
    page = 0;
    show();
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => (event.target.name === "marks" ? show() : filter()));
  form.addEventListener("reset", () => setTimeout(filter)); // after the fields are empty
  for (const button of box.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      page += Number(button.dataset.step);
      show();
      if (button.closest(".pager") !== count.closest(".pager")) count.focus();
    });
  }
  document.getElementById("fixed").remove();
  box.hidden = false;
  filter();
})();
