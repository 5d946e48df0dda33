// The page's style sheet. Colours are variables: light, dark, and paper; categories have one hue each, the same in all
// pictures.

const LIGHT = `
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d1e20; --soft: #6c6f75; --faint: #a6a8ad; --line: #e6e3dc;
  --lit: #fff0b8; --near: #f4f1e8; --accent: #2f5fd0;
  --product: #3d6fd9; --rows: #2f9d77; --mix: #b4548f; --codes: #c98a1b; --move: #8d9098;
  --tk: #7a3fa0; --tv: #2c5f9e; --tn: #a2590b; --ts: #2f7d4f; --tc: #8d9098;`;

const DARK = `
  --paper: #131418; --card: #1a1c21; --ink: #e8e6e1; --soft: #9a9da5; --faint: #646872; --line: #2b2e35;
  --lit: #4a4220; --near: #22252c; --accent: #86a8ff;
  --product: #6f97f2; --rows: #4fc39a; --mix: #dd82b9; --codes: #e4b04f; --move: #8a8e98;
  --tk: #c99bea; --tv: #8cb8f0; --tn: #e8ab6b; --ts: #83cf9f; --tc: #757983;`;

const CATEGORY_RULES = ["product", "rows", "mix", "codes", "move"]
  .map((name) => `.${name} { --hue: var(--${name}); }`)
  .join("\n");

export const STYLE = `
:root { color-scheme: light; ${LIGHT} }
@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { color-scheme: dark; ${DARK} } }
:root[data-theme="dark"] { color-scheme: dark; ${DARK} }
${CATEGORY_RULES}
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 2200px; padding: 36px 40px 80px; font: 15px/1.5 ui-sans-serif, "Inter", system-ui,
  -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-feature-settings: "cv05", "ss03";
  -webkit-font-smoothing: antialiased; }
code, .code, .source { font-family: ui-monospace, "JetBrains Mono", "SF Mono", "Cascadia Code", Menlo, Consolas,
  "DejaVu Sans Mono", monospace; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -0.022em; font-weight: 640; margin: 10px 0 4px;
  text-wrap: balance; }
h2 { font-size: 20px; letter-spacing: -0.012em; font-weight: 620; margin: 56px 0 4px; }
h2 + p { margin: 0 0 16px; color: var(--soft); max-width: 76ch; }
.brand { margin: 0; font-weight: 650; letter-spacing: -0.01em; }
.brand span { color: var(--soft); font-weight: 400; margin-left: 6px; }
.target { margin: 0; color: var(--soft); }
header { position: relative; }
#theme { position: absolute; right: 0; top: 0; border: 1px solid var(--line); background: var(--card);
  color: var(--soft);
  border-radius: 99px; width: 34px; height: 34px; font-size: 16px; cursor: pointer; }
.figures { display: flex; flex-wrap: wrap; gap: 18px 32px; margin: 26px 0 0; }
.figures div { display: flex; flex-direction: column-reverse; }
.figures dd { margin: 0; font-size: 25px; font-weight: 600; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; line-height: 1.2; }
.figures dt { color: var(--soft); font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 12px; font-size: 13px; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; border-radius: 3px;
  background: var(--hue); margin-right: 7px; }
.columns { display: grid; grid-auto-flow: column; gap: 12px; height: min(76vh, 900px); min-height: 480px;
  overflow-x: auto;
  grid-template-columns: var(--columns); scroll-snap-type: x proximity; padding-bottom: 6px; }
.column { background: var(--card); border: 1px solid var(--line); border-radius: 12px; display: flex;
  flex-direction: column;
  min-height: 0; min-width: 0; overflow: hidden; scroll-snap-align: start; }
.column > h3 { margin: 0; padding: 11px 16px 10px; font-size: 13px; font-weight: 620;
  border-bottom: 1px solid var(--line);
  display: flex; gap: 10px; justify-content: space-between; white-space: nowrap; }
.column > h3 span { color: var(--soft); font-weight: 400; overflow: hidden; text-overflow: ellipsis; }
.scroll { overflow: auto; flex: 1; min-height: 0; scrollbar-width: thin; scrollbar-color: var(--line) transparent; }
.picture { padding: 14px; display: flex; justify-content: safe center; align-items: flex-start; }
.code, .source { font-size: 11.5px; line-height: 18px; padding: 8px 0; tab-size: 2; }
.lines { content-visibility: auto; min-width: max-content; }
.line { white-space: pre; padding: 0 16px; min-width: max-content; cursor: default; }
.line[data-inst], .source .line { cursor: pointer; }
.line:hover { background: var(--near); }
.line.lit { background: var(--lit); }
.source .line::before { content: attr(data-line); display: inline-block; width: 3ch; margin-right: 1.6ch;
  text-align: right; color: var(--faint); }
.tk { color: var(--tk); } .tv { color: var(--tv); } .tn { color: var(--tn); } .ts { color: var(--ts); } .tc {
  color: var(--tc); }
.graph { display: block; max-width: 100%; height: auto; flex: none; }
.graph text { font: 11px/1 ui-sans-serif, "Inter", system-ui, sans-serif; fill: var(--ink); }
.graph .box { fill: var(--paper); stroke: var(--line); }
.graph .box-title { font-weight: 600; font-size: 12px; }
.graph .times { fill: var(--accent); font-weight: 650; font-size: 13px; }
.graph .edge { fill: none; stroke: var(--faint); stroke-width: 1.1; opacity: 0.75; }
.node { cursor: pointer; outline: none; }
.node rect { fill: color-mix(in srgb, var(--hue) 14%, var(--card));
  stroke: color-mix(in srgb, var(--hue) 55%, var(--card)); }
.node.near rect, .node:focus-visible rect { stroke: var(--hue); stroke-width: 1.6; }
.node.chosen rect { fill: var(--hue); stroke: var(--hue); }
.node.chosen text { fill: var(--card); font-weight: 600; }
.block h3 { position: sticky; top: 0; background: var(--card); margin: 0; padding: 10px 16px 6px;
  font-size: 12px; font-weight: 600; color: var(--soft); z-index: 1; }
.block .times { color: var(--accent); margin-left: 6px; }
.unit { padding: 7px 16px 8px 13px; border-left: 3px solid transparent; cursor: pointer; outline: none; }
.unit.near, .unit:focus-visible { background: var(--near); }
.unit.chosen { border-left-color: var(--hue); background: color-mix(in srgb, var(--hue) 9%, var(--card)); }
.unit h4 { margin: 0; font-size: 13px; font-weight: 560; }
.unit h4::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 2px;
  background: var(--hue); margin-right: 8px; }
.unit .meta { margin: 1px 0 0 16px; font-size: 12px; color: var(--soft); display: flex; flex-wrap: wrap;
  gap: 0 12px; font-variant-numeric: tabular-nums; }
.unit .saves { color: var(--rows); }
.unit .inputs { margin: 0 0 0 16px; font-size: 11.5px; color: var(--faint); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.ops { display: none; list-style: none; margin: 6px 0 2px 16px; padding: 0; font-size: 11.5px; line-height: 17px; }
.unit.chosen .ops { display: block; }
.ops li { display: flex; justify-content: space-between; gap: 10px; }
.ops code { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.ops i { color: var(--faint); font-style: normal; white-space: nowrap; }
.ops .written code { font-weight: 650; }
.ops .written code::after { content: " → memory"; color: var(--soft); font-weight: 400; }
.intents { list-style: none; margin: 0; padding: 0; font-size: 12.5px; }
.intents li { padding: 5px 16px; cursor: pointer; }
.intents li:hover { background: var(--near); }
.intents b { font-weight: 560; }
.intents i { display: block; font-style: normal; color: var(--soft); font-size: 12px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 18px 20px; }
figure svg { display: block; width: 100%; height: auto; }
svg text { font: 12px/1 ui-sans-serif, "Inter", system-ui, sans-serif; fill: var(--soft);
  font-variant-numeric: tabular-nums; }
.tick { font-size: 11px; } .axis { fill: var(--soft); }
.buffer { fill: color-mix(in srgb, var(--hue) 62%, var(--card)); stroke: none; }
.buffer:hover { fill: var(--hue); }
.padding { fill: var(--ink); opacity: 0.45; }
.frame { fill: var(--paper); stroke: var(--line); }
.alive { fill: color-mix(in srgb, var(--accent) 22%, var(--card)); stroke: var(--accent); stroke-width: 1;
  stroke-opacity: .6; }
.peak { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; opacity: .7; pointer-events: none; }
.peak-label { fill: var(--ink); font-weight: 600; }
.profile { display: grid; grid-template-columns: minmax(360px, 10fr) minmax(420px, 13fr); gap: 14px;
  align-items: start; }
.grid { stroke: var(--line); }
.roof { fill: none; stroke: var(--soft); stroke-width: 1.4; }
.roof-label { font-size: 11px; }
.point { fill: color-mix(in srgb, var(--hue) 55%, transparent); stroke: var(--hue); stroke-width: 1.3;
  cursor: pointer; outline: none; }
.point:hover, .point.chosen, .point:focus-visible { fill: var(--hue); }
.point-label { fill: var(--ink); font-size: 11.5px; font-weight: 560; paint-order: stroke; stroke: var(--card);
  stroke-width: 4px; pointer-events: none; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; font-weight: 400; white-space: nowrap; }
tbody th, thead th:first-child { text-align: left; }
thead th { color: var(--soft); font-size: 12px; border-bottom: 1px solid var(--line); position: sticky; top: 0;
  background: var(--card); }
tbody th i { color: var(--faint); font-style: normal; }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--line) 55%, transparent); }
.kernels tbody tr { cursor: pointer; outline: none; }
.kernels tbody tr:hover, .kernels tbody tr.chosen, .kernels tbody tr:focus-visible { background: var(--near); }
.kernels tbody th::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 2px;
  background: var(--hue); margin-right: 8px; }
.bar { width: 20%; min-width: 70px; }
.kernels { font-size: 12.5px; } .kernels th, .kernels td { padding: 5px 6px; }
.kernels tbody th { max-width: 220px; overflow: hidden; text-overflow: ellipsis; }
.bar span { display: block; height: 12px; border-radius: 3px;
  background: color-mix(in srgb, var(--hue) 26%, var(--card)); min-width: 2px; overflow: hidden; }
.bar b { display: block; height: 100%; background: var(--hue); }
.tall { max-height: 460px; overflow: auto; padding: 4px 12px 12px; scrollbar-width: thin;
  scrollbar-color: var(--line) transparent; }
.timeline { display: flex; gap: 2px; height: 46px; }
.stage { display: flex; min-width: 1px; flex-basis: 0; border-radius: 3px; overflow: hidden; }
.stage i { flex-basis: 0; min-width: 0; background: color-mix(in srgb, var(--hue) 70%, var(--card));
  cursor: pointer; }
.stage.serial { align-self: flex-end; height: 23px; }
.stage i:hover, .stage i.chosen, .stage i.near { background: var(--hue); }
.caption { color: var(--soft); font-size: 13px; margin: 8px 0 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 14px;
  margin-bottom: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 20px; }
.card h3 { margin: 0; font-size: 13px; color: var(--soft); font-weight: 560; }
.card .value { margin: 2px 0; font-size: 22px; font-weight: 600; letter-spacing: -0.018em; }
.card p { margin: 0; color: var(--soft); font-size: 13px; }
.card p.value { color: var(--ink); }
.layouts { max-width: 900px; }
.layouts tbody th { white-space: normal; }
.empty { color: var(--soft); }
footer { margin-top: 56px; color: var(--faint); font-size: 13px; }
@media (max-width: 900px) {
  body { padding: 22px 18px 60px; } h1 { font-size: 26px; }
  .profile { grid-template-columns: 1fr; } .columns { grid-template-columns: none; grid-auto-columns: 86vw; }
}
@media print {
  :root, :root[data-theme="dark"] { color-scheme: light; ${LIGHT} }
  body { padding: 0; font-size: 11px; } #theme, .code-column { display: none; }
  .columns { display: block; height: auto; } .column, figure, .card { break-inside: avoid; border-color: #ccc; }
  .scroll, .tall { overflow: visible; max-height: none; } .profile { grid-template-columns: 1fr; }
}`;
