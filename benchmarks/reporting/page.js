"use strict";
// Tables that sort.
(() => {
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
})();
