# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How a report looks, on a wide and a narrow page, light, dark and printed, and the few lines that choose a subset."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: light-dark(#ffffff, #16181c);
  --panel: light-dark(#f5f6f8, #1f2228);
  --ink: light-dark(#1b1f24, #e4e6ea);
  --soft: light-dark(#5a626d, #a2a9b4);
  --line: light-dark(#d8dce2, #363b44);
  --right: #0072b2;
  --wrong: #d55e00;
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
header { border-bottom: 1px solid var(--line); padding-bottom: 1rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
.note, figcaption, dt, th, .interval-text, nav { color: var(--soft); }
.note, .interval-text, figcaption, nav, table, dl, pre, .legend, select { font-size: .875rem; }
a { color: inherit; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.figures > div { background: var(--panel); border-radius: .375rem; padding: .75rem 1rem; }
.figures b { display: block; font-size: 1.5rem; line-height: 1.3; font-weight: 600; }
.figures span { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1rem 1.5rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2rem; }
.beside > * { min-width: 0; }
figure { margin: 0 0 .5rem; max-width: 27rem; }
figcaption { margin-bottom: .25rem; }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 11px; }
.chart .name { fill: var(--ink); font-size: 12px; paint-order: stroke; stroke: var(--page); stroke-width: 4px; }
.grid { stroke: var(--line); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-width: 1; }
.mark { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 4 4; }
.curve { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
.strong { stroke-width: 2.4; }
.interval { stroke: var(--ink); stroke-width: 2; }
.point { stroke: var(--page); stroke-width: 1.5; }
.soft { fill-opacity: .45; }
.cloud { fill-opacity: .35; }
.legend { list-style: none; margin: .25rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .125rem 1rem; }
.legend li { min-width: 0; overflow-wrap: anywhere; }
.sample { width: 24px; height: 8px; margin-right: .375rem; vertical-align: middle; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
th, td { border-bottom: 1px solid var(--line); }
th { font-weight: 500; }
td:first-child { white-space: nowrap; }
td.number, th.number { text-align: right; }
.interval-text { display: block; white-space: nowrap; }
.confusion th, .confusion td { padding: .25rem .375rem; border: 1px solid var(--page); }
.confusion td { min-width: 2.25rem; text-align: center; vertical-align: middle; }
.confusion thead th { vertical-align: bottom; }
.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 9rem; overflow: hidden; }
.confusion tbody th { text-align: right; vertical-align: middle; white-space: nowrap; }
.confusion .hit { background: color-mix(in srgb, var(--right) var(--share), var(--panel)); }
.confusion .miss { background: color-mix(in srgb, var(--wrong) var(--share), var(--panel)); }
.confusion .full { color: #ffffff; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1rem; margin: .5rem 0; }
dd { margin: 0; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: 1rem; }
.cards { align-items: start; }
.card { background: var(--panel); border-radius: .375rem; padding: .75rem 1rem; min-width: 0; break-inside: avoid; }
.card h3 { margin: 0; overflow-wrap: anywhere; }
.card img { border-radius: .25rem; margin: .25rem .25rem .25rem 0; max-width: 100%; height: auto; }
.card audio { width: 100%; height: 2.25rem; margin: .25rem 0; }
.cell { margin: .5rem 0 0; }
.made { border-top: 1px solid var(--line); margin-top: .5rem; padding-top: .25rem; }
.small { image-rendering: pixelated; }
.words { overflow-wrap: anywhere; }
pre {
  background: var(--panel); border-radius: .375rem; padding: .75rem 1rem; margin: .5rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace;
}
select { font: inherit; padding: .25rem .5rem; color: var(--ink); background: var(--panel);
  border: 1px solid var(--line); border-radius: .375rem; margin-left: .375rem; max-width: 100%; }
@media screen and (prefers-color-scheme: dark) {
  .chart, .sample { filter: brightness(1.3); }
}
@media (max-width: 30rem) {
  body { padding: 1rem .75rem 2rem; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .5rem; }
}
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav, select, label, audio { display: none; }
  .wide { overflow: visible; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""

# Of several blocks, each of one subset, the chosen one is shown; without scripts it is that of all modalities.
SCRIPT = """
const choice = document.getElementById("subset");
if (choice) {
  choice.parentElement.hidden = false;
  choice.addEventListener("change", () => {
    for (const block of document.querySelectorAll("[data-subset]")) {
      block.hidden = block.dataset.subset !== choice.value;
    }
  });
}
"""
