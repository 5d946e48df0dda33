// The compiler of TypeScript behind one file: types of parameters that cannot be read from their own file (imported
// aliases, types that are computed). It is TypeScript 7's synchronous API, which is not stable yet; it starts the
// compiler as a process, which takes 0.1 s, and is asked for all types at once. A type is known by its structure, so it
// does not matter by what name it came.

import type * as Ts from "typescript/unstable/sync";
import type { ParameterType } from "./check/parameter_types.ts";

/** Types by the offset of the parameter that has them. */
export type ResolvedTypes = ReadonlyMap<number, ParameterType>;

type Api = typeof Ts;

/** What the compiler says of parameters at these offsets of a file; undefined where TypeScript is not installed. */
export async function resolveParameterTypes(
  path: string,
  offsets: readonly number[],
): Promise<ResolvedTypes | undefined> {
  let api: Api;
  try {
    api = await import("typescript/unstable/sync");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
  const compiler = new api.API();
  try {
    const snapshot = compiler.updateSnapshot({ openFiles: [path] });
    const project = snapshot.getDefaultProjectForFile(path);
    if (project === undefined) return new Map();
    const types = project.checker.getTypeAtPosition(path, offsets);
    const found = new Map<number, ParameterType>();
    for (const [i, type] of types.entries()) {
      const resolved = type === undefined ? undefined : new TypeReader(project.checker).read(type);
      if (resolved !== undefined) found.set(offsets[i]!, resolved);
    }
    return found;
  } finally {
    compiler.close();
  }
}

type Checker = Ts.Checker;
type Type = Ts.Type;

const ELEMENTS = { Float32Array: "f32", Float64Array: "f64", Int32Array: "i32" } as const;
const RANK_MAX = 8;

/** Reads types by their structure: a literal length, and what is inside. */
class TypeReader {
  readonly #checker: Checker;

  constructor(checker: Checker) {
    this.#checker = checker;
  }

  read(type: Type): ParameterType | undefined {
    const text = this.#checker.typeToString(type);
    if (text === "number") return { kind: "scalar", type: "number" };
    if (text === "boolean") return { kind: "scalar", type: "bool" };
    const shape: number[] = [];
    const isTernary = this.#property(type, "scale") !== undefined;
    for (let inner: Type | undefined = type; inner !== undefined && shape.length < RANK_MAX;) {
      const length = this.#property(inner, "length");
      if (length === undefined || !length.isNumberLiteralType()) return undefined;
      shape.push(length.value);
      const element = this.#elementOf(inner);
      if (element !== undefined) return { kind: "array", element, shape };
      if (isTernary && shape.length === 2) return { kind: "array", element: "ternary", shape };
      inner = this.#indexed(inner);
    }
    return undefined;
  }

  #property(type: Type, name: string): Type | undefined {
    const symbol = this.#checker.getPropertyOfType(type, name);
    return symbol && this.#checker.getTypeOfSymbol(symbol);
  }

  /** The element type of a typed array, alone or as a part of an intersection. */
  #elementOf(type: Type): "f32" | "f64" | "i32" | undefined {
    const parts = type.isIntersectionType() ? type.getTypes() : [type];
    for (const part of parts) {
      const name = part.getSymbol()?.name;
      if (name !== undefined && Object.hasOwn(ELEMENTS, name)) return ELEMENTS[name as keyof typeof ELEMENTS];
    }
    return undefined;
  }

  /** What `value[i]` is. */
  #indexed(type: Type): Type | undefined {
    const parts = type.isIntersectionType() ? type.getTypes() : [type];
    for (const part of parts) {
      const [info] = this.#checker.getIndexInfosOfType(part);
      if (info !== undefined) return info.valueType;
    }
    return undefined;
  }
}
