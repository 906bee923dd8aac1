"use strict";
const dossiers = new Set(JSON.parse(document.getElementById("dossiers")?.textContent ?? "[]"));
const anchor = (gene) => "#dossier-" + gene.replace(/[^0-9A-Za-z_-]/gu,
  (c) => "." + c.codePointAt(0).toString(16));
// A link to a folded part unfolds it.
function unfold() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", unfold);
unfold();
for (const section of document.querySelectorAll("section.table")) {
  const step = 50;
  const heads = [...section.querySelectorAll("th")];
  const numeric = heads.map((head) => head.classList.contains("number"));
  const genes = heads.map((head) => "genes" in head.dataset);
  const body = section.querySelector("tbody");
  const input = section.querySelector("input");
  const output = section.querySelector("output");
  const more = section.querySelector(".more");
  const total = Number(section.dataset.rows);
  let rows = null, names = null, view = [], shown = step, column = -1, direction = 0, latest = 0;
  if (total > 20 || heads.length > 12) section.dataset.long = "";

  const packed = () => Uint8Array.from(
    atob(section.querySelector(".data").textContent), (c) => c.charCodeAt(0));
  // Text that a spreadsheet would take for a formula gets an apostrophe; numbers stay.
  const safe = (text) => text.replace(
    /(^|[\t\n])([=+\-@][^\t\n]*)/g,
    (all, before, cell) => isNaN(cell) && cell !== "-inf" ? `${before}'${cell}` : all);
  const unpacked = () => new Response(
    new Blob([packed()]).stream().pipeThrough(new DecompressionStream("gzip"))).text();

  async function load() {
    if (rows) return;
    const [head, ...columns] = (await unpacked()).split("\n").map((line) => line.split("\t"));
    names = head;
    rows = Array.from({ length: total }, (_, i) => columns.map((column) => column[i]));
  }

  function pretty(text) {
    const value = text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
    if (text === "" || Number.isNaN(value)) return "";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    const size = Math.abs(value);
    let result;
    if (Number.isInteger(value) && size < 1e15) result = value.toFixed(0);
    else if (size < 1e-3 || size >= 1e6) result = value.toExponential(1);
    else result = value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
    return (result === "-0" ? "0" : result).replaceAll("-", "−");
  }

  const value = (text) => text === "" ? NaN : text === "inf" ? Infinity
    : text === "-inf" ? -Infinity : Number(text);
  const compare = {
    "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b,
  };

  function test(word) {
    const parts = word.match(/^(.+?)(<=|>=|<|>|=)(.+)$/);
    const place = parts ? names.map((n) => n.toLowerCase()).indexOf(parts[1]) : -1;
    if (place >= 0 && numeric[place] && !Number.isNaN(Number(parts[3]))) {
      const limit = Number(parts[3]);
      return (row) => row[place] !== "" && compare[parts[2]](value(row[place]), limit);
    }
    if (place >= 0 && parts[2] === "=") return (row) => row[place].toLowerCase() === parts[3];
    return (row) => row.some((cell) => cell.toLowerCase().includes(word));
  }

  function order(a, b) {
    const x = a[column], y = b[column];
    if (x === "" || y === "") return (x === "") - (y === "");
    if (numeric[column]) {
      const p = value(x), q = value(y);
      return direction * (p < q ? -1 : p > q ? 1 : 0);
    }
    return direction * x.localeCompare(y, "en", { numeric: true });
  }

  function draw() {
    body.replaceChildren(...view.slice(0, shown).map((row) => {
      const line = document.createElement("tr");
      row.forEach((cell, i) => {
        const field = document.createElement("td");
        if (numeric[i]) field.className = "number";
        if (genes[i] && dossiers.has(cell)) {
          const link = document.createElement("a");
          link.href = anchor(cell);
          link.textContent = cell;
          field.append(link);
        } else field.textContent = numeric[i] ? pretty(cell) : cell;
        line.append(field);
      });
      return line;
    }));
    if (more) more.hidden = shown >= view.length;
  }

  async function update() {
    const turn = ++latest;
    await load();
    if (turn !== latest) return;
    const tests = input.value.toLowerCase().split(/\s+/).filter(Boolean).map(test);
    view = rows.filter((row) => tests.every((passes) => passes(row)));
    if (direction) view.sort(order);
    shown = step;
    draw();
    const all = total.toLocaleString("en-US"), some = view.length.toLocaleString("en-US");
    output.value = tests.length ? `${some} of ${all} rows` : `${all} rows`;
  }

  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    direction = column === i ? (direction === 1 ? -1 : direction === -1 ? 0 : 1) : 1;
    column = i;
    heads.forEach((other, j) => other.setAttribute("aria-sort",
      j !== i || !direction ? "none" : direction > 0 ? "ascending" : "descending"));
    update();
  }));
  input.addEventListener("input", update);
  if (more) more.addEventListener("click", async () => {
    if (!rows) { await load(); view = rows; }
    shown += 4 * step;
    draw();
  });
  section.querySelector(".download").addEventListener("click", async () => {
    await load();
    const text = [names, ...rows].map((row) => row.join("\t") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([safe(text)], { type: "text/tab-separated-values" }));
    link.download = `${section.dataset.name}.tsv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}
