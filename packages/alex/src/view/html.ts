// Small helpers for text that becomes HTML and SVG.

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** `<name key="value">`, undefined values left out; values are escaped. */
export function open(name: string, attributes: Readonly<Record<string, string | number | undefined>> = {}): string {
  const text = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escapeHtml(String(value))}"`);
  return `<${name}${text.join("")}>`;
}

/** An element; `children` is HTML already. */
export function element(
  name: string,
  attributes: Readonly<Record<string, string | number | undefined>>,
  ...children: readonly string[]
): string {
  return `${open(name, attributes)}${children.join("")}</${name}>`;
}

/** A number with at most two digits behind the point. */
export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Something to draw at round values from a range: 1, 2 or 5 times a power of ten. */
export function roundStep(range: number, count: number): number {
  const raw = range / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * (raw / power <= 1 ? 1 : raw / power <= 2 ? 2 : raw / power <= 5 ? 5 : 10);
}

/** A piece of text in a picture, escaped; `anchor` says which end of it is at x. */
export function label(
  className: string,
  x: number,
  y: number,
  text: string,
  anchor: "start" | "middle" | "end",
): string {
  return element("text", { class: className, x: round(x), y: round(y), "text-anchor": anchor }, escapeHtml(text));
}

/** A rectangle from a corner; `inside` is HTML. */
export function rectangle(
  attributes: Readonly<Record<string, string | number | undefined>>,
  [x, y, width, height]: readonly [x: number, y: number, width: number, height: number],
  inside = "",
): string {
  return element(
    "rect",
    { ...attributes, x: round(x), y: round(y), width: round(width), height: round(height) },
    inside,
  );
}
