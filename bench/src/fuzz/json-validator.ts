// A validator of JSON Schema (draft 2020-12, and OpenAPI's `nullable`) for what random-json-schema.ts makes: written
// from the specification alone, as the other opinion on what the grammars of schemas let through.

type Node = Readonly<Record<string, unknown>>;

const FORMATS: Readonly<Record<string, (text: string) => boolean>> = {
  date: isDate,
  time: isTime,
  "date-time": (text) => isDate(text.slice(0, 10)) && text[10] === "T" && isTime(text.slice(11)),
  duration: (text) => /^P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?)$/.test(text),
  email: (text) => /^[^@\s]{1,64}@[^@\s]+$/.test(text) && isHost(text.slice(text.indexOf("@") + 1)),
  hostname: isHost,
  ipv4: (text) =>
    text.split(".").length === 4 && text.split(".").every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && +part < 256),
  ipv6: (text) => text.split(":").length === 8 && text.split(":").every((part) => /^[\da-f]{1,4}$/i.test(part)),
  uri: (text) => URL.canParse(text),
  uuid: (text) => /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text),
};

function isDate(text: string): boolean {
  const found = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
  if (found === null) return false;
  const [, year, month, day] = found.map(Number);
  const days = [
    31,
    (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28,
    31,
    30,
    31,
    30,
    31,
    31,
    30,
    31,
    30,
    31,
  ];
  return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

function isTime(text: string): boolean {
  const found = /^(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|[+-](\d\d):(\d\d))$/.exec(text);
  if (found === null) return false;
  const [, hour, minute, second, zoneHour = 0, zoneMinute = 0] = found.map((part) => Number(part ?? 0));
  return hour < 24 && minute < 60 && second < 60 && zoneHour < 24 && zoneMinute < 60;
}

function isHost(text: string): boolean {
  return text.length <= 253 && text.split(".").every((label) => /^[a-z\d]([a-z\d-]{0,61}[a-z\d])?$/i.test(label));
}

/** What is wrong with `value`, with its place; undefined where it is valid. */
export function invalidity(value: unknown, schema: unknown, root: unknown = schema, at = "$"): string | undefined {
  if (typeof schema === "boolean") return schema ? undefined : `${at}: nothing is valid`;
  const node = schema as Node;
  return (
    ofCombinations(value, node, root, at) ??
    ofValue(value, node, at) ??
    (typeof value === "number" ? ofNumber(value, node, at) : undefined) ??
    (typeof value === "string" ? ofString(value, node, at) : undefined) ??
    (Array.isArray(value) ? ofArray(value, node, root, at) : undefined) ??
    (isPlainObject(value) ? ofObject(value, node, root, at) : undefined)
  );
}

function isPlainObject(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function ofCombinations(value: unknown, node: Node, root: unknown, at: string): string | undefined {
  if (typeof node.$ref === "string") {
    let target: unknown = root;
    for (const name of node.$ref.split("/").slice(1)) target = (target as Node)[name];
    const wrong = invalidity(value, target, root, at);
    if (wrong !== undefined) return wrong;
  }
  const all = (node.allOf as unknown[] | undefined) ?? [];
  for (const part of all) {
    const wrong = invalidity(value, part, root, at);
    if (wrong !== undefined) return wrong;
  }
  for (const keyword of ["anyOf", "oneOf"]) {
    const options = node[keyword] as unknown[] | undefined;
    if (options === undefined) continue;
    const valid = options.filter((part) => invalidity(value, part, root, at) === undefined).length;
    if (valid === 0 || (keyword === "oneOf" && valid > 1)) return `${at}: ${valid} of ${keyword}`;
  }
  return undefined;
}

function ofValue(value: unknown, node: Node, at: string): string | undefined {
  const isType = (type: unknown): boolean => {
    if (type === "null") return value === null;
    if (type === "array") return Array.isArray(value);
    if (type === "object") return isPlainObject(value);
    return type === "integer" ? Number.isInteger(value) : typeof value === type;
  };
  const types = node.type === undefined || Array.isArray(node.type) ? node.type : [node.type];
  const isNull = node.nullable === true && value === null;
  if (types !== undefined && !isNull && !(types as unknown[]).some(isType))
    return `${at}: not of type ${String(types)}`;
  if (node.enum !== undefined && !(node.enum as unknown[]).some((one) => same(one, value))) return `${at}: not in enum`;
  if (node.const !== undefined && !same(node.const, value)) return `${at}: not the constant`;
  return undefined;
}

function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((one, at) => same(one, b[at]));
  if (!isPlainObject(a) || !isPlainObject(b)) return a === b;
  return (
    Object.keys(a).length === Object.keys(b).length &&
    Object.keys(a).every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
  );
}

function ofNumber(value: number, node: Node, at: string): string | undefined {
  const limit = (keyword: string, fallback: number): number => (node[keyword] as number | undefined) ?? fallback;
  if (!Number.isFinite(value)) return `${at}: not finite`;
  if (value < limit("minimum", -Infinity) || value > limit("maximum", Infinity))
    return `${at}: ${value} is out of range`;
  if (value <= limit("exclusiveMinimum", -Infinity) || value >= limit("exclusiveMaximum", Infinity)) {
    return `${at}: ${value} is at or out of the ends of its range`;
  }
  return undefined;
}

function ofString(value: string, node: Node, at: string): string | undefined {
  const length = Array.from(value).length;
  if (length < Number(node.minLength ?? 0) || length > Number(node.maxLength ?? Infinity))
    return `${at}: ${length} long`;
  if (!value.isWellFormed()) return `${at}: half a character`;
  if (typeof node.pattern === "string" && !new RegExp(node.pattern, "u").test(value))
    return `${at}: not ${node.pattern}`;
  if (typeof node.format === "string" && !FORMATS[node.format](value)) return `${at}: ${value} is no ${node.format}`;
  return undefined;
}

function ofArray(value: readonly unknown[], node: Node, root: unknown, at: string): string | undefined {
  const count = value.length;
  if (count < Number(node.minItems ?? 0) || count > Number(node.maxItems ?? Infinity)) return `${at}: ${count} items`;
  const prefix = (node.prefixItems as unknown[] | undefined) ?? [];
  for (const [index, item] of value.entries()) {
    const schema = index < prefix.length ? prefix[index] : (node.items ?? true);
    const wrong = invalidity(item, schema, root, `${at}[${index}]`);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function ofObject(value: Node, node: Node, root: unknown, at: string): string | undefined {
  const properties = (node.properties as Node | undefined) ?? {};
  for (const name of (node.required as string[] | undefined) ?? []) {
    if (!Object.hasOwn(value, name)) return `${at}: without ${name}`;
  }
  const count = Object.keys(value).length;
  if (count < Number(node.minProperties ?? 0) || count > Number(node.maxProperties ?? Infinity)) {
    return `${at}: ${count} properties`;
  }
  for (const [name, item] of Object.entries(value)) {
    const schema = Object.hasOwn(properties, name) ? properties[name] : (node.additionalProperties ?? true);
    const wrong = invalidity(item, schema, root, `${at}.${name}`);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}
