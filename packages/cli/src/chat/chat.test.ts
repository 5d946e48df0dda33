// A chat's commands, its history and its lines, with a tiny random model on the interpreter.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import {
  CharacterTokenizer,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import type { ChatMessage } from "@fidelity/models";
import { LanguageModel } from "@fidelity/run";
import type { Chat } from "@fidelity/run";
import fc from "fast-check";
import { ChatCommandError, readConversation, runChatCommand } from "./chat-commands.ts";
import { ChatHistory, wholeMessage } from "./chat-terminal.ts";
import { WordWrap } from "./word-wrap.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-chat-"));
after(() => rmSync(folder, { recursive: true }));

const tokenizer = CharacterTokenizer.fromTexts(["abcdefghijklmnopqrstuvwxyz <>:\n"]);
const device = createInterpreter();
const sizes = { dim: 8, hiddenDim: 12, layerCount: 1, headCount: 2, contextLength: 64, vocabSize: tokenizer.vocabSize };
const model = createModel({ architecture: "llama", ...sizes });
const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
  fillParameter(specs.get(path)!, path, 5, tensor.f32()),
);
const GREEDY = { temperature: 0, maxTokens: 5 };
const open = (): Chat => new LanguageModel({ model, tokenizer, parameters, device }).chat(GREEDY);

describe("commands", () => {
  const subject = { name: "tiny", facts: ["architecture: llama"] };
  const at = (line: string, conversation: Chat): string | undefined => runChatCommand(line, conversation, subject);

  test("settings, system prompt, clear, show, save and load", async () => {
    const conversation = open();
    await conversation.send("hi").result();
    at("/set temperature 0.5", conversation);
    at("/set parameter top_k 3", conversation);
    at("/system be kind", conversation);
    assert.deepEqual([conversation.options.temperature, conversation.options.topK], [0.5, 3]);
    assert.match(
      at("/show", conversation)!,
      /tiny\narchitecture: llama[\s\S]*of 64 tokens[\s\S]*top_k 3[\s\S]*be kind/,
    );
    const file = join(folder, "talk one.json");
    at(`/save ${file}`, conversation);
    const messages: readonly ChatMessage[] = conversation.messages;
    assert.deepEqual(readConversation(file), { system: "be kind", messages });
    at("/clear", conversation);
    assert.deepEqual(conversation.messages, []);
    assert.equal(conversation.system, "be kind");
    at("/system", conversation);
    at(`/load ${file}`, conversation);
    assert.deepEqual([conversation.system, conversation.messages], ["be kind", messages]);
    assert.match(at("/help", conversation)!, /\/save FILE/);
    for (const bye of ["/bye", "/exit"]) assert.equal(at(bye, conversation), undefined);
  });

  test("mistakes are said and change nothing", async () => {
    const conversation = open();
    for (const line of ["/what", "/set", "/set temperature hot", "/set __proto__ 1", "/save", "/load"]) {
      assert.throws(() => at(line, conversation), ChatCommandError, line);
    }
    assert.throws(() => at("/set top_p 7", conversation), /topP cannot be 7/);
    assert.deepEqual(conversation.options, GREEDY);
    const file = join(folder, "other.json");
    for (const text of ["{", "[]", '{"messages":[1]}', '{"messages":{}}', '{"messages":[{"role":"user"}]}']) {
      writeFileSync(file, text);
      assert.throws(() => at(`/load ${file}`, conversation), ChatCommandError, text);
    }
  });

  test("the history is kept, without empty lines and repetitions", () => {
    const path = join(folder, "state", "history");
    const history = new ChatHistory(path);
    for (const line of ["one", "two", "two", " "]) history.add(line);
    history.save();
    assert.deepEqual(new ChatHistory(path).lines, ["two", "one"]);
  });

  test('a message of several lines ends at the second """', () => {
    assert.equal(wholeMessage(["one", "two"]), undefined);
    assert.equal(wholeMessage(["one", 'two"""']), "one\ntwo");
    assert.equal(wholeMessage(['one"""']), "one");
    assert.equal(wholeMessage([""]), undefined);
  });
});

describe("word wrap", () => {
  test("no word is broken, no line is too long, and nothing is lost", () => {
    const word = fc.stringMatching(/^[a-z]{1,9}$/);
    const pieces = fc.array(fc.oneof(word, fc.constantFrom(" ", "\n", "  ", "漢字")), { maxLength: 60 });
    fc.assert(
      fc.property(pieces, fc.integer({ min: 20, max: 30 }), (parts, columns) => {
        const wrap = new WordWrap(columns);
        const shown = parts.map((part) => wrap.push(part)).join("") + wrap.end();
        assert.equal(shown.replaceAll(/\s/g, ""), parts.join("").replaceAll(/\s/g, ""));
        const words = (text: string): string[] =>
          text.split(/\s+|(?=[漢字])|(?<=[漢字])/).filter((part) => part !== "");
        assert.deepEqual(words(shown), words(parts.join("")));
        for (const line of shown.split("\n").filter((text) => words(text).length > 1)) {
          const width = line.trimEnd().replaceAll(/[漢字]/g, "xx").length;
          assert.ok(width <= columns, `${width} columns: ${line}`);
        }
      }),
      { seed: 4, numRuns: 200 },
    );
  });

  test("text appears at the end of each word", () => {
    const wrap = new WordWrap(10);
    assert.deepEqual(
      ["one two", " three", "\n", " x"].map((piece) => wrap.push(piece)),
      ["one", " two", "\nthree\n", ""],
    );
    assert.equal(wrap.end(), " x");
  });
});
