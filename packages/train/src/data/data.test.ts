import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { ByteTokenizer, CharacterTokenizer } from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { BinaryDataError, EmptyTextError, NoMatchError, NoSuchFileError, UnreadableFileError } from "./index.ts";
import { DataSettingError, defaultCorpus, findTextFiles, readText, TextCorpus } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-data-"));
after(() => rmSync(folder, { recursive: true }));

/** Writes a file below the test's folder and returns its path. */
function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const names = (inputs: readonly string[], extensions?: readonly string[]): string[] =>
  findTextFiles(
    inputs.map((input) => join(folder, input)),
    extensions,
  ).map(({ path }) => path.slice(folder.length + 1));

test("files, folders and globs are found in one order, each file once", () => {
  for (const name of ["tree/b.txt", "tree/a.md", "tree/B.txt", "tree/sub/c.txt", "tree/image.png"]) file(name, name);
  for (const name of ["tree/.git/d.txt", "tree/node_modules/p/e.txt"]) file(name, name);
  symlinkSync(join(folder, "tree"), join(folder, "tree", "loop"));
  assert.deepEqual(names(["tree"]), ["tree/B.txt", "tree/a.md", "tree/b.txt", "tree/sub/c.txt"]);
  assert.deepEqual(names(["tree"], [".md"]), ["tree/a.md"]);
  assert.deepEqual(names(["tree/b.txt", "tree"]).slice(0, 2), ["tree/b.txt", "tree/B.txt"]);
  assert.deepEqual(names(["tree/[ab].*"]), ["tree/a.md", "tree/b.txt"]);
  assert.deepEqual(names(["tree/image.png"]), ["tree/image.png"]);
  file("odd[1].txt", "a name with a glob character is still a name");
  assert.deepEqual(names(["odd[1].txt"]), ["odd[1].txt"]);
});

test("what is not there is refused with what is", () => {
  file("near/shakespeare.txt", "x");
  file("near/image.png", "x");
  const refused = (input: string, kind: new (summary: string) => Error, message: RegExp): void => {
    assert.throws(
      () => findTextFiles([join(folder, input)]),
      (error) => {
        assert.ok(error instanceof kind, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  };
  refused("near/shakespear.txt", NoSuchFileError, /shakespear\.txt(.|\n)*near misses: shakespeare\.txt/);
  refused("nowhere/a.txt", NoSuchFileError, /nowhere, which does not exist/);
  refused("near/shakespeare.txt/a", NoSuchFileError, /no file or folder/);
  refused("near/*.text", NoMatchError, /nothing matches(.|\n)*near misses: (.*, )?shakespeare\.txt/);
  refused("near2/**/*.txt", NoMatchError, /which does not exist/);
  file("pictures/image.png", "x");
  refused("pictures", NoMatchError, /holds no text files(.|\n)*image\.png/);
  assert.throws(() => findTextFiles(["/dev/null"]), UnreadableFileError);
  assert.throws(() => Array.from(readText(folder)), UnreadableFileError);
});

test("text comes back whole, cut only after lines, whatever the block boundaries hit", () => {
  const long = Array.from({ length: 200_000 }, (_, line) => `line ${line} é€😀\n`).join("");
  const pieces = Array.from(readText(file("long.txt", long)));
  assert.ok(pieces.length > 1);
  assert.ok(pieces.every((piece) => piece.endsWith("\n")));
  assert.equal(pieces.join(""), long);
  for (const shift of ["", "a", "ab", "abc"]) {
    const noLines = shift + "😀".repeat(1_100_000);
    assert.ok(Array.from(readText(file("one-line.txt", noLines))).join("") === noLines);
  }
  assert.deepEqual(Array.from(readText(file("bom.txt", "\uFEFFtext"))), ["text"]);
  assert.deepEqual(Array.from(readText(file("nothing.txt", ""))), []);
  const limited = file("limited.txt", "ab€cd");
  assert.deepEqual(
    [2, 3, 4, 5, 6, 99].map((limit) => Array.from(readText(limited, limit)).join("")),
    ["ab", "ab", "ab", "ab€", "ab€c", "ab€cd"],
  );
});

test("binary data is refused with file and offset; a little damage is not", () => {
  const read = (name: string, content: string | Uint8Array): string =>
    Array.from(readText(file(name, content))).join("");
  const refused = (name: string, content: Uint8Array, message: RegExp): void => {
    assert.throws(
      () => read(name, content),
      (error) => {
        assert.ok(error instanceof BinaryDataError);
        assert.match(error.message, message);
        return true;
      },
    );
  };
  refused("nul.txt", Buffer.from("text\0text"), /nul\.txt, byte 4(.|\n)*NUL/);
  refused("utf16.txt", Buffer.from("\uFEFFtext", "utf16le"), /UTF-16(.|\n)*iconv/);
  refused("latin.txt", Buffer.from("\xe9t\xe9 \xe0", "latin1"), /byte 0 is the first bad one(.|\n)*60\.0 %/);
  // Overlong, surrogate, beyond U+10FFFF, stray continuation, truncated: all invalid.
  for (const bytes of [
    [0xc0, 0xaf],
    [0xe0, 0x80, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0x80],
    [0xe2],
  ]) {
    refused("bad.txt", Uint8Array.from([0x41, ...bytes]), /byte 1 is the first bad one/);
  }
  const late = Buffer.concat([Buffer.alloc(5 << 20, "good line\n"), Buffer.from("x\0")]);
  refused("late.txt", late, new RegExp(`byte ${(5 << 20) + 1}`));
  assert.equal(read("slight.txt", Buffer.from("caf\xe9 with eleven more", "latin1")), "caf\uFFFD with eleven more");
});

test("a corpus joins files on lines, obeys its limit and refuses nothing at all", () => {
  file("join/a.txt", "one");
  file("join/b.txt", "");
  file("join/c.txt", "two\n");
  file("join/d.txt", "three");
  const whole = TextCorpus.open([join(folder, "join")]);
  assert.equal(Array.from(whole.texts()).join(""), "one\ntwo\nthree");
  assert.equal(whole.sizeBytes, 12);
  const limited = TextCorpus.open([join(folder, "join")], { limitBytes: 5 });
  assert.equal(Array.from(limited.texts()).join(""), "one\ntw");
  file("empty/a.txt", "");
  assert.throws(() => TextCorpus.open([join(folder, "empty")]), EmptyTextError);
  assert.throws(() => TextCorpus.open([join(folder, "join")], { limitBytes: 0 }), DataSettingError);
});

test("tokens take the smallest type, files begin with BOS if there is one, and fingerprints tell them apart", () => {
  const corpus = TextCorpus.open([file("tokens/a.txt", "ab€"), file("tokens/b.txt", "ba")]);
  const bytes = corpus.tokenize(new ByteTokenizer());
  assert.ok(bytes.tokens instanceof Uint8Array);
  assert.equal(Buffer.from(bytes.tokens).toString(), "ab€\nba");
  assert.equal(bytes.tokens.buffer.byteLength, 8);
  const characters = CharacterTokenizer.fromTexts(corpus.texts());
  assert.deepEqual(Array.from(corpus.tokenize(characters).tokens), [1, 2, 3, 0, 2, 1]);
  assert.deepEqual(Array.from(corpus.tokenize(characters, 3).tokens), [1, 2, 3]);
  assert.equal(corpus.tokenize(characters).fingerprint, corpus.tokenize(characters).fingerprint);
  assert.notEqual(corpus.tokenize(characters).fingerprint, corpus.tokenize(characters, 3).fingerprint);
  const wide = Array.from({ length: 300 }, (_, index) => String.fromCharCode(0x400 + index)).join("");
  const wideCorpus = TextCorpus.open([file("wide.txt", wide)]);
  const wideTokens = wideCorpus.tokenize(CharacterTokenizer.fromTexts(wideCorpus.texts())).tokens;
  assert.ok(wideTokens instanceof Uint16Array);
  assert.deepEqual(
    Array.from(wideTokens),
    Array.from({ length: 300 }, (_, index) => index),
  );
  const base = new ByteTokenizer();
  const withBos: Tokenizer = {
    kind: "byte",
    vocabSize: 70_000,
    bosToken: 65_999,
    stopTokens: [],
    specialTokens: {},
    tokenText: (token) => base.tokenText(token),
    tokenBytes: () => new Uint8Array(0),
    encode: (text) => base.encode(text),
    decode: (tokens) => base.decode(tokens),
    stream: () => base.stream(),
    toJSON: () => base.toJSON(),
  };
  const marked = corpus.tokenize(withBos).tokens;
  assert.ok(marked instanceof Int32Array);
  assert.deepEqual([marked.indexOf(65_999), marked.lastIndexOf(65_999), marked.length], [0, 6, 10]);
});

test("many tokens grow past the first block", () => {
  const text = "0123456789\n".repeat(30_000);
  const { tokens } = TextCorpus.open([file("many.txt", text)]).tokenize(new ByteTokenizer());
  assert.ok(Buffer.from(tokens.buffer).equals(Buffer.from(text)));
});

test("the default corpus is megabytes of declarations in the same order each time, capped", () => {
  const corpus = defaultCorpus();
  assert.ok(corpus.sizeBytes > 2_000_000 && corpus.sizeBytes <= 6_000_000, `${corpus.sizeBytes} bytes`);
  assert.ok(corpus.files.every(({ path }) => path.endsWith(".d.ts") && !path.includes("lib.webworker")));
  assert.deepEqual(defaultCorpus().files, corpus.files);
  assert.equal(new Set(corpus.files.map(({ path }) => path)).size, corpus.files.length);
  const start = Array.from(defaultCorpus(undefined, 100_000).texts()).join("");
  assert.ok(start.length > 90_000 && start.includes("interface"));
  assert.throws(() => defaultCorpus([folder.slice(0, 1)]), /npm ci/);
});
