"use strict";
const PICTURES_A_PAGE = 48;
const table = document.getElementById("scans");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const words = rows.map(row => row.textContent.toLowerCase());
const pictures = Array.from(document.querySelectorAll("#pictures figure"));
const controls = Array.from(document.querySelectorAll("#filters [data-column]"));
const heads = Array.from(table.tHead.rows[0].cells);
const search = document.getElementById("search");
const least = document.getElementById("least");
let page = 0;

function cell(row, column) {
  return row.cells[column].textContent.trim();
}

function filter() {
  const wanted = controls.filter(one => one.value).map(one => [Number(one.dataset.column), one.value]);
  const text = search.value.trim().toLowerCase();
  let shown = 0;
  rows.forEach((row, n) => {
    const count = Number(row.dataset.lesions);
    row.hidden = !(words[n].includes(text) && (!least.value || count >= Number(least.value)) &&
      wanted.every(([column, value]) => cell(row, column) === value));
    shown += row.hidden ? 0 : 1;
  });
  document.getElementById("shown").textContent = `${shown} of ${rows.length} scans`;
  turn(0);
}

function turn(to) {
  const left = pictures.filter(one => !document.getElementById(one.dataset.row).hidden);
  const pages = Math.max(1, Math.ceil(left.length / PICTURES_A_PAGE));
  page = Math.min(Math.max(to, 0), pages - 1);
  const on = new Set(left.slice(page * PICTURES_A_PAGE, (page + 1) * PICTURES_A_PAGE));
  pictures.forEach(one => { one.hidden = !on.has(one); });
  document.getElementById("page").textContent = `Page ${page + 1} of ${pages}: ${left.length} scans with lesions`;
}

function sort(column) {
  const head = heads[column];
  const down = head.getAttribute("aria-sort") === "ascending";
  heads.forEach(one => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = rows.map(row => {
    const text = cell(row, column);
    return [row, text === "" ? NaN : Number(text), text];
  });
  const numbers = keyed.every(([, number, text]) => text === "" || !Number.isNaN(number));
  keyed.sort(([, a, s], [, b, t]) => {
    if (s === "" || t === "") return (s === "") - (t === "");  // empty cells come last
    return (down ? -1 : 1) * (numbers ? a - b : s.localeCompare(t));
  });
  body.append(...keyed.map(([row]) => row));
}

heads.forEach((head, n) => head.firstElementChild.addEventListener("click", () => sort(n)));
[search, least, ...controls].forEach(one => one.addEventListener("input", filter));
document.getElementById("before").addEventListener("click", () => turn(page - 1));
document.getElementById("after").addEventListener("click", () => turn(page + 1));
filter();
