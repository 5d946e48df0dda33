// What the page does when it is used: functions that are put into it as text. They know the page's elements and the
// data beside them, and nothing else; types are gone when they run.

/** A text of one kernel on one stage as the page carries it. */
export interface PageText {
  /** Lines, joined. */
  readonly text: string;
  /** For each line the instruction that it belongs to, -1 for none. */
  readonly inst: readonly number[];
}

/** The data that the page carries. */
export interface PageData {
  readonly stages: readonly string[];
  /** By kernel, then by stage. */
  readonly texts: readonly (readonly PageText[])[];
  readonly names: readonly string[];
  /** Kernels that the calls of each unit run, and the units of each kernel. */
  readonly unitKernels: readonly (readonly number[])[];
  readonly kernelUnits: readonly (readonly number[])[];
  /** The unit that stands for each in the picture: itself, or the same one of the first layer. */
  readonly unitShown: readonly number[];
  /** Lines of the source by kernel and instruction, -1 for none; empty without a source. */
  readonly sourceLines: readonly (readonly number[])[];
  readonly firstUnit: number;
}

interface PageState {
  readonly data: PageData;
  kernel: number;
  pinned: number;
}

const LINES_TOGETHER = 120;

function pageState(): PageState {
  const text = document.getElementById("data")!.textContent!;
  return { data: JSON.parse(text) as PageData, kernel: -1, pinned: -1 };
}

function all(selector: string): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(selector)];
}

/** Words, numbers, comments of any stage's text, coloured by one rule. */
function colour(line: string): string {
  const escaped = line.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const words =
    "for if else yield kernel load store step with func loop block end br br_if call define ret param local";
  const parts = [
    String.raw`(\/\/.*|;;.*|#\s.*$)`,
    String.raw`("[^"]*")`,
    String.raw`(%[\w.]+|\$[\w.]+|\bv\d+\b)`,
    String.raw`(\b(?:${words.replaceAll(" ", "|")})\b)`,
    String.raw`(\b\d[\d.]*(?:e[+-]?\d+)?\b)`,
  ];
  return escaped.replace(new RegExp(parts.join("|"), "g"), (token, comment, text, value, word) => {
    const kind = comment ? "c" : text ? "s" : value ? "v" : word ? "k" : "n";
    return `<span class="t${kind}">${token}</span>`;
  });
}

/** Fills a column with a kernel's text, in pieces that are drawn when they come into sight. */
function fillColumn(column: HTMLElement, { text, inst }: PageText): void {
  const lines = text.split("\n");
  const pieces: string[] = [];
  for (let from = 0; from < lines.length; from += LINES_TOGETHER) {
    const part = lines.slice(from, from + LINES_TOGETHER);
    const html = part.map((line, i) => {
      const owner = inst[from + i]!;
      return `<div class="line"${owner < 0 ? "" : ` data-inst="${owner}"`}>${colour(line) || " "}</div>`;
    });
    pieces.push(`<div class="lines" style="contain-intrinsic-height:${part.length * 18}px">${html.join("")}</div>`);
  }
  column.innerHTML = pieces.join("");
  column.scrollTop = 0;
}

/** Shows the texts of a kernel. */
function showKernel(state: PageState, kernel: number): void {
  if (state.kernel === kernel) return;
  state.kernel = kernel;
  state.pinned = -1;
  const { stages, texts, names } = state.data;
  stages.forEach((id, stage) => {
    fillColumn(document.querySelector<HTMLElement>(`.column[data-stage="${id}"] .code`)!, texts[kernel]![stage]!);
  });
  for (const name of all(".kernel-name")) name.textContent = `${names[kernel]} #${kernel}`;
  for (const row of all("[data-kernel]")) row.classList.toggle("chosen", row.dataset["kernel"] === String(kernel));
}

function showUnit(state: PageState, unit: number, isScrolled: boolean): void {
  const shown = state.data.unitShown[unit]!;
  for (const other of all("[data-unit]")) {
    const id = Number(other.dataset["unit"]);
    other.classList.toggle("chosen", state.data.unitShown[id] === shown);
  }
  const kernels = state.data.unitKernels[unit]!;
  if (kernels.length > 0) showKernel(state, kernels[kernels.length - 1]!);
  if (!isScrolled) return;
  for (const counterpart of all(`.columns [data-unit="${shown}"]`)) reveal(counterpart);
}

/** Scrolls what scrolls around an element so that it is in sight; the page itself stays. */
function reveal(target: Element): void {
  const scroller = target.closest<HTMLElement>(".scroll");
  if (scroller === null) return;
  const [inner, outer] = [target.getBoundingClientRect(), scroller.getBoundingClientRect()];
  if (inner.top >= outer.top && inner.bottom <= outer.bottom) return;
  scroller.scrollTop += inner.top - outer.top - outer.height / 3;
}

/** Lights up what belongs to an instruction in all columns. */
function lightInst(state: PageState, inst: number, isScrolled: boolean): void {
  for (const line of all(".line.lit")) line.classList.remove("lit");
  if (inst < 0) return;
  const lines = all(`.code [data-inst="${inst}"]`);
  const source = state.data.sourceLines[state.kernel]?.[inst] ?? -1;
  if (source > 0) lines.push(...all(`.source [data-line="${source}"]`));
  for (const line of lines) line.classList.add("lit");
  if (!isScrolled) return;
  for (const scroller of all(".columns .scroll")) {
    const first = scroller.querySelector(".line.lit");
    if (first !== null) reveal(first);
  }
}

/** Lights up everything that a line of the source became. */
function lightSource(state: PageState, line: number, isScrolled: boolean): void {
  for (const lit of all(".line.lit")) lit.classList.remove("lit");
  const wanted = new Set<number>();
  (state.data.sourceLines[state.kernel] ?? []).forEach((at, inst) => {
    if (at === line) wanted.add(inst);
  });
  const lines = all(".code [data-inst]").filter(({ dataset }) => wanted.has(Number(dataset["inst"])));
  lines.push(...all(`.source [data-line="${line}"]`));
  for (const lit of lines) lit.classList.add("lit");
  if (!isScrolled) return;
  for (const scroller of all(".columns .scroll")) {
    const first = scroller.querySelector(".line.lit");
    if (first !== null) reveal(first);
  }
}

function lightAt(state: PageState, target: Element, isScrolled: boolean): boolean {
  const line = target.closest<HTMLElement>(".code .line, .source .line, .intents li");
  if (line === null) return false;
  const { inst, line: source } = line.dataset;
  if (source !== undefined) lightSource(state, Number(source), isScrolled);
  else lightInst(state, Number(inst ?? -1), isScrolled);
  return true;
}

function choose(state: PageState, target: Element): void {
  const unit = target.closest<HTMLElement>("[data-unit]");
  const kernel = target.closest<HTMLElement>("[data-kernel]");
  if (unit !== null) showUnit(state, Number(unit.dataset["unit"]), true);
  else if (kernel !== null) {
    const id = Number(kernel.dataset["kernel"]);
    showUnit(state, state.data.kernelUnits[id]![0] ?? state.data.firstUnit, true);
    showKernel(state, id);
  }
}

function listen(state: PageState): void {
  const root = document.body;
  root.addEventListener("mouseover", ({ target }) => {
    if (state.pinned < 0 && target instanceof Element) lightAt(state, target, false);
    const unit = target instanceof Element ? target.closest<HTMLElement>("[data-unit]") : null;
    const shown = unit === null ? -1 : state.data.unitShown[Number(unit.dataset["unit"])]!;
    for (const other of all("[data-unit]")) {
      other.classList.toggle("near", shown >= 0 && state.data.unitShown[Number(other.dataset["unit"])] === shown);
    }
  });
  root.addEventListener("click", ({ target }) => {
    if (!(target instanceof Element)) return;
    if (target.closest("#theme") !== null) return toggleTheme();
    state.pinned = lightAt(state, target, true) ? 1 : -1;
    if (state.pinned < 0) choose(state, target);
  });
  root.addEventListener("keydown", ({ key, target }) => {
    if (key === "Enter" && target instanceof Element) choose(state, target);
    if (key === "Escape") lightInst(state, (state.pinned = -1), false);
  });
}

function toggleTheme(): void {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme.includes("dark");
  root.dataset["theme"] = isDark ? "light" : "dark";
}

function startPage(): void {
  const state = pageState();
  listen(state);
  showUnit(state, state.data.firstUnit, true);
}

const FUNCTIONS: readonly unknown[] = [
  pageState,
  all,
  colour,
  fillColumn,
  showKernel,
  showUnit,
  reveal,
  lightInst,
  lightSource,
  lightAt,
  choose,
  listen,
  toggleTheme,
  startPage,
];

/** The page's script. */
export function pageScript(): string {
  return [`const LINES_TOGETHER = ${LINES_TOGETHER};`, ...FUNCTIONS.map(String), "startPage();"].join("\n");
}
