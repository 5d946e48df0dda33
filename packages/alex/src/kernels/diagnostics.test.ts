import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compileKernelSource, DIAGNOSTIC_CODES, formatDiagnostic, KernelError, SourceText } from "./index.compile.ts";
import type { Diagnostic, DiagnosticCode } from "./index.compile.ts";

/** A kernel over a vector, a matrix, ternary weights and a result, with this body. */
function inKernel(body: string): string {
  return `kernel(function k(x: Vector<8>, m: Matrix<4, 8>, w: Ternary<[4, 8]>, n: i32, out: Vector<8>) {\n${body}\n});`;
}

function diagnosticsOf(text: string): readonly Diagnostic[] {
  return compileKernelSource(text, { file: "src/k.ts" }).diagnostics;
}

/** Texts that are refused, by code; the place is where `@` stands in the text. */
const REFUSED: Readonly<Record<DiagnosticCode, readonly string[]>> = {
  FK001: [inKernel("out[0] = @;"), "kernel(function k( {@"],
  FK002: [
    inKernel("@throw x;"),
    inKernel("@x[0];"),
    inKernel("@x.forEach((v) => { out[0] = v; });"),
    inKernel("@break;"),
    inKernel("@for (const v of x) out[0] = v;"),
    "kernel(@async function k(out: Vector<8>) { out[0] = 1; });",
  ],
  FK003: [
    inKernel("out[0] = @`text`;"),
    inKernel("out[0] = @(y) => y;"),
    inKernel("out[0] = @x[0] == 1 ? 1 : 0;"),
    inKernel("out[0] = x[0] ** @x[1];"),
    inKernel("out[0] = @x.size;"),
    inKernel("out[0] = @x?.[0];"),
  ],
  FK004: [inKernel("out[0] = @y;"), inKernel("out[0] = @outt;")],
  FK005: [
    "kernel(function k(@x, out: Vector<8>) { out[0] = 1; });",
    "kernel(function k(x: @Banana<8>, out: Vector<8>) { out[0] = 1; });",
    'kernel(function k(x: Vector<8, @"f16">, out: Vector<8>) { out[0] = 1; });',
    "kernel(function k(@{ a }: Vector<8>, out: Vector<8>) { out[0] = 1; });",
    "kernel([@t.list(8)], (x) => { x[0] = 1; });",
  ],
  FK006: [
    "kernel(function k(out: Vector<@0>) { out[0] = 1; });",
    "kernel(function k(out: Vector<@N>) { out[0] = 1; });",
    "kernel(function k(out: Matrix<@1.5, 8>) { out[0][0] = 1; });",
    "kernel(function k(out: @Tensor<[]>) { out[0] = 1; });",
    "kernel(function k(out: @Matrix<2000000, 2000000>) { out[0][0] = 1; });",
  ],
  FK007: [inKernel("out[0] = @m[1];"), inKernel("out[0] = @x[1][2];"), inKernel("out[0] = @m;")],
  FK008: [inKernel("out[0] = x[@x[0]];"), inKernel("out[@n / 2] = 1;"), inKernel("out[@0.5] = 1;")],
  FK009: [inKernel("out[0] = x[@8];"), inKernel("for (let i = 0; i < 8; i++) out[@i + 8] = 1;")],
  FK010: [
    inKernel("@for (;;) out[0] = 1;"),
    inKernel("for (let i = 0; @x[0] > 1; i++) out[0] = 1;"),
    inKernel("@for (let i = 0; i < 8; i--) out[0] = 1;"),
    inKernel("for (let i = 0; i < 8; @i += n) out[0] = 1;"),
  ],
  FK011: [inKernel("@while (x[0] > 1) out[0] = 1;"), inKernel("@do { out[0] = 1; } while (x[0] > 1);")],
  FK012: [
    inKernel("const a = x[0];\n@a = 1;"),
    inKernel("@w[0][0] = 1;"),
    inKernel("@n = 1;"),
    inKernel("for (let i = 0; i < 8; i++) { @i = 2; }"),
    inKernel("@x.length = 2;"),
  ],
  FK013: [
    inKernel("if (@x[0]) out[0] = 1;"),
    inKernel("out[0] = @true;"),
    inKernel("let a: i32 = 0;\n@a = x[0];\nout[0] = a;"),
    inKernel("out[0] = @x[0] % 2;"),
    inKernel("out[0] = @x[0] & 3;"),
    inKernel("out[0] = @n >>> n;"),
  ],
  FK014: [inKernel("out[0] = @Math.random();"), inKernel("out[0] = @fetch(1);")],
  FK015: [
    `function f(a: number) { @for (let i = 0; i < 3; i++) a += 1; return a; }\n${inKernel("out[0] = f(x[0]);")}`,
    `function f(a: number): number { return @f(a); }\n${inKernel("out[0] = f(x[0]);")}`,
    `@function f(a: number) { if (a > 1) return 1; }\n${inKernel("out[0] = f(x[0]);")}`,
  ],
  FK016: [inKernel("out[0] = @Math.abs(1, 2);"), `const f = (a: number) => a;\n${inKernel("out[0] = @f();")}`],
  FK017: [
    inKernel("switch (n) { @case 1: out[0] = 1; case 2: break; }"),
    inKernel("switch (n) { case 1: break; case @1: break; }"),
    inKernel("switch (n) { case @x[0]: break; }"),
    inKernel("switch (n) { case 1: { if (x[0] > 1) @break; out[0] = 1; break; } }"),
  ],
  FK018: [
    inKernel("@var a = 1;"),
    inKernel("let @a;"),
    inKernel("const a = 1;\nconst @a = 2;\nout[0] = a;"),
    inKernel("const @[a] = x;"),
  ],
  FK019: [
    inKernel("for (let i = 0; i < 8; i++) { const @own = vector(8); out[i] = own[i]; }"),
    inKernel("const own = vector(@n);"),
    inKernel("const own = @tensor([]);"),
  ],
  FK020: [inKernel(`out[0] = ${"-".repeat(2000)}x[0];`), inKernel(`out[0] = ${"(".repeat(300)}1${")".repeat(300)};`)],
  FK021: [],
  FK022: [
    'kernel(function k(d: Quantity<"m">, t: Quantity<"s">, out: Vector<8>) { out[0] = @d + t; });',
    'kernel(function k(d: Quantity<"m">, t: Quantity<"s">, out: Vector<8, "f32", "m/s">) { @out[0] = d * t; });',
    'kernel(function k(d: Quantity<@"m^">, out: Vector<8>) { out[0] = d; });',
  ],
  FK023: [inKernel("if (x[0] > 1) { @return 1; }\nreturn 2;"), inKernel("if (n > 1) return;\nout[0] = 1;\n@return 2;")],
  FK024: [inKernel("out[0] = n % @n;"), inKernel("out[0] = n % @0;")],
  FK025: ["kernel(@function k(x: Vector<8>) { const a = x[0]; });"],
  FK026: [`${inKernel("out[0] = 1;")}\n${inKernel("out[0] = 1;").replace("function k", "@function k")}`],
};

for (const [code, texts] of Object.entries(REFUSED)) {
  test(`${code}: ${DIAGNOSTIC_CODES[code as DiagnosticCode]}`, () => {
    for (const marked of texts) {
      const at = marked.indexOf("@");
      const text = marked.replace("@", "");
      const [first, ...more] = diagnosticsOf(text);
      assert.ok(first !== undefined, text);
      assert.equal(first.code, code, `${text}\n${formatDiagnostic(first)}`);
      assert.deepEqual(more, [], text);
      if (at < 0 || code === "FK001") continue;
      const before = text.slice(0, at).split("\n");
      const place = { line: before.length, column: before.at(-1)!.length + 1 };
      assert.deepEqual({ line: first.line, column: first.column }, place, `${text}\n${formatDiagnostic(first)}`);
    }
  });
}

test("a diagnostic shows where it is, what was expected, what was found and what to write", () => {
  const [first] = diagnosticsOf(inKernel("for (let i = 0; i < 8; i++) {\n  out[i] = x[i + 8];\n}"));
  assert.equal(
    formatDiagnostic(first!),
    [
      "src/k.ts:3:14 FK009 this index is always outside x",
      "",
      "  1 | kernel(function k(x: Vector<8>, m: Matrix<4, 8>, w: Ternary<[4, 8]>, n: i32, out: Vector<8>) {",
      "  2 | for (let i = 0; i < 8; i++) {",
      "> 3 |   out[i] = x[i + 8];",
      "    |              ^^^^^",
      "  4 | }",
      "",
      "  expected: 0 to 7",
      "  got:      8 to 15",
    ].join("\n"),
  );
});

test("every mistake of a kernel is reported at once, each of them once", () => {
  const codes = diagnosticsOf(inKernel("const a = y;\nout[0] = a + z;\nwhile (true) {}\nout[9] = 1;")).map(
    ({ code }) => code,
  );
  assert.deepEqual(codes, ["FK011"], "what cannot be read is said before what it means");
  const later = diagnosticsOf(inKernel("const a = y;\nout[0] = z;\nout[0] = a;")).map(({ code, line }) => [code, line]);
  assert.deepEqual(later, [
    ["FK004", 2],
    ["FK004", 3],
  ]);
});

test("methods that people would call are named, with what to write instead", () => {
  const called = ["x.forEach((v) => { out[0] = v; });", "console.log(x[0]);", "x.sort();", "f(x[0]);"].map(
    (body) => diagnosticsOf(inKernel(body))[0]!,
  );
  assert.deepEqual(
    called.map(({ message }) => message),
    [
      "x.forEach cannot be called in a kernel",
      "console.log cannot be called in a kernel",
      "x.sort cannot be called in a kernel",
      "the value of this expression is not used",
    ],
  );
  assert.equal(called[0]!.hint, "count: for (let i = 0; i < x.length; i++)");
});

test("a name that is nearly right is suggested", () => {
  const [first] = diagnosticsOf(inKernel("const total = x[0];\nout[0] = totel;"));
  assert.equal(first!.hint, "did you mean total?");
});

test("an error of kernels holds its diagnostics", () => {
  const diagnostics = diagnosticsOf(inKernel("out[0] = y;"));
  const error = new KernelError(diagnostics);
  assert.equal(error.diagnostics, diagnostics);
  assert.match(error.message, /^src\/k\.ts:2:10 FK004 y is not known/);
  const lines = (count: number): string => Array.from({ length: count }, () => "out[0] = y;").join("\n");
  const shown = (count: number): string => new KernelError(diagnosticsOf(inKernel(lines(count)))).message;
  assert.match(shown(3), /:2:10 FK004[^]*\n\nsrc\/k\.ts:3:10 FK004[^]*\n\nsrc\/k\.ts:4:10 FK004/);
  assert.match(shown(11), /:9:10 FK004[^]*\n\nand 3 more$/);
  assert.doesNotMatch(shown(11), /:10:10/);
});

test("positions count from 1, and frames of long lines are cut", () => {
  const source = new SourceText("a.ts", `one\ntwo${" ".repeat(500)}three\n`);
  assert.deepEqual(source.position(0), { line: 1, column: 1 });
  assert.deepEqual(source.position(4), { line: 2, column: 1 });
  assert.deepEqual(source.position(10_000), { line: 3, column: 1 });
  const { frame } = source.place({ code: "FK003", span: { start: 507, end: 512 }, message: "here" });
  const [line, carets] = frame.split("\n").slice(1);
  assert.equal(line!.indexOf("three"), carets!.indexOf("^^^^^"));
});

test("the documentation has every code", () => {
  const page = readFileSync(new URL("../../../../docs/kernels.md", import.meta.url), "utf8").replaceAll("`", "");
  for (const [code, text] of Object.entries(DIAGNOSTIC_CODES)) assert.ok(page.includes(`| ${code} | ${text} |`), code);
});
