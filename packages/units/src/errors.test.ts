import assert from "node:assert/strict";
import { test } from "node:test";
import { FidelityError, InternalError, invariant } from "./errors.ts";

class NoSuchTensorError extends FidelityError {}

test("an error prints what happened, where, expected, got and what to try, in that order", () => {
  const error = new FidelityError("cannot read the model", {
    hint: "convert it again",
    got: "0x00",
    where: "model.fid, byte 4",
    expected: "version 1",
  });
  assert.equal(
    error.message,
    [
      "cannot read the model",
      "  where:    model.fid, byte 4",
      "  expected: version 1",
      "  got:      0x00",
      "  try:      convert it again",
    ].join("\n"),
  );
});

test("a fact that is not known is not printed", () => {
  assert.equal(new FidelityError("no text", { hint: "give one" }).message, "no text\n  try:      give one");
  assert.equal(new FidelityError("no text").message, "no text");
});

test("a detail of any length leaves a message that can be read", () => {
  const { message } = new FidelityError("no such name", { got: "a".repeat(1e6) });
  assert.ok(message.length < 2100);
  assert.match(message, /a\.\.\. \(1000000 characters\)$/);
});

test("a subclass is named after itself and keeps the cause", () => {
  const cause = new RangeError("below");
  const error = new NoSuchTensorError("no such tensor", { cause });
  assert.equal(error.name, "NoSuchTensorError");
  assert.equal(error.cause, cause);
  assert.ok(error instanceof FidelityError);
  assert.equal("cause" in new NoSuchTensorError("no such tensor"), false);
});

test("invariant throws an InternalError only when broken", () => {
  invariant(true, "one plus one");
  assert.throws(
    () => invariant(false, "order lost"),
    (error: unknown) => {
      return error instanceof InternalError && error.message.startsWith("internal: order lost\n");
    },
  );
});
