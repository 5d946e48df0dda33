// Units of measure in kernels: products of powers of names, as in "kg*m/s^2". They come from annotations, are checked
// where values meet, and are gone before lowering. What has no annotation fits everything, and so do literals where
// they are added: units are there to find mistakes, not to be satisfied. The algebra is that of Kennedy, "Dimension
// Types" (ESOP 1994), without inference of unknowns.

/** Powers by base unit, without zeros; undefined is a value whose unit nobody has said. */
export type Unit = ReadonlyMap<string, number> | undefined;

const POWER_MAX = 64;

/** Reads "m/s^2", "kg*m", "1/s" or "1"; undefined when the text is no unit. */
export function parseUnit(text: string): ReadonlyMap<string, number> | undefined {
  const unit = new Map<string, number>();
  let sign = 1;
  const parts = text.trim().split(/([*/])/);
  for (const [i, part] of parts.entries()) {
    if (i % 2 === 1) {
      sign = part === "/" ? -1 : 1;
      continue;
    }
    const match = /^\s*(?:1|([A-Za-zµ%°Ω]+)(?:\^(-?\d{1,2}))?)\s*$/.exec(part);
    if (match === null) return undefined;
    const [, name, power = "1"] = match;
    if (name !== undefined) raise(unit, name, sign * Number(power));
  }
  return unit;
}

function raise(unit: Map<string, number>, name: string, power: number): void {
  const sum = (unit.get(name) ?? 0) + power;
  if (sum === 0) unit.delete(name);
  else unit.set(name, sum);
}

/** The unit of a product, or with `sign` -1 of a quotient. */
export function multiplyUnits(a: Unit, b: Unit, sign: 1 | -1 = 1): Unit {
  if (a === undefined || b === undefined) return undefined;
  const unit = new Map(a);
  for (const [name, power] of b) raise(unit, name, sign * power);
  return unit;
}

/** The unit of a power; undefined when it is none, as the square root of a metre. */
export function powerUnit(a: Unit, power: number): Unit {
  if (a === undefined) return undefined;
  const unit = new Map<string, number>();
  for (const [name, own] of a) {
    const raised = own * power;
    if (!Number.isInteger(raised) || Math.abs(raised) > POWER_MAX) return undefined;
    unit.set(name, raised);
  }
  return unit;
}

export function sameUnit(a: Unit, b: Unit): boolean {
  if (a === undefined || b === undefined) return true;
  return a.size === b.size && [...a].every(([name, power]) => b.get(name) === power);
}

export function formatUnit(unit: Unit): string {
  if (unit === undefined) return "any unit";
  const written = (name: string, power: number): string => (power === 1 ? name : `${name}^${power}`);
  const above = [...unit].filter(([, power]) => power > 0).map(([name, power]) => written(name, power));
  const below = [...unit].filter(([, power]) => power < 0).map(([name, power]) => `/${written(name, -power)}`);
  return `${above.length === 0 ? "1" : above.join("*")}${below.join("")}`;
}
