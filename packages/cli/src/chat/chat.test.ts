// Conversations with tiny random models on the interpreter: what they read is what reading all of it anew would be.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import type { Device } from "@fidelity/core";
import {
  CharacterTokenizer,
  ChatTemplate,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  openSession,
  parameterTypes,
  Sampler,
} from "@fidelity/models";
import type { ChatMessage } from "@fidelity/models";
import fc from "fast-check";
import { ChatCommandError, readConversation, runChatCommand } from "./chat-commands.ts";
import { plainFormat, templateFormat } from "./chat-format.ts";
import { ChatHistory, wholeMessage } from "./chat-terminal.ts";
import { openConversation } from "./conversation.ts";
import type { Answer, Conversation, ConversationOptions } from "./conversation.ts";
import { WordWrap } from "./word-wrap.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-chat-"));
after(() => rmSync(folder, { recursive: true }));

const tokenizer = CharacterTokenizer.fromTexts(["abcdefghijklmnopqrstuvwxyz <>:\n"]);
const device: Device = createInterpreter();
const sizes = {
  architecture: "llama",
  dim: 8,
  hiddenDim: 12,
  layerCount: 1,
  headCount: 2,
  keyValueHeadCount: 1,
  vocabSize: tokenizer.vocabSize,
};
const model = createModel({ ...sizes, contextLength: 64 });
const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
  fillParameter(specs.get(path)!, path, 5, tensor.f32()),
);
const template = new ChatTemplate(
  "{%- for m in messages -%}<{{ 'a' if m.role == 'assistant' else m.role }}>{{ m.content }}\n{%- endfor -%}{%- if add_generation_prompt -%}<a>{%- endif -%}",
);
const loaded = { model, tokenizer, parameters, device };
const GREEDY = { temperature: 0 };

function open(options: Partial<ConversationOptions> = {}, isPlain = false): Promise<Conversation> {
  const format = isPlain ? plainFormat(tokenizer) : templateFormat(template, tokenizer, new Date(0));
  return openConversation(loaded, format, { maxTokens: 5, sampling: GREEDY, ...options });
}

function ask(conversation: Conversation, question: string, onForgotten?: (turns: number) => void): Promise<Answer> {
  return conversation.answer(question, { signal: new AbortController().signal, onText: () => undefined, onForgotten });
}

describe("a conversation", () => {
  for (const isPlain of [false, true]) {
    test(`keeps what was read, and answers as if it read all anew (${isPlain ? "plain" : "template"})`, async () => {
      const conversation = await open({}, isPlain);
      const first = await ask(conversation, "hi");
      assert.deepEqual([first.tokens, first.keptTokens, first.endedBy], [5, 0, "tokens"]);
      const second = await ask(conversation, "and you");
      assert.ok(second.keptTokens >= first.promptTokens + 4, JSON.stringify(second));
      const anew = await open({ messages: conversation.messages.slice(0, 2) }, isPlain);
      const again = await ask(anew, "and you");
      assert.equal(again.keptTokens, 0);
      assert.equal(again.text, second.text);
      assert.equal(again.promptTokens, second.promptTokens + second.keptTokens);
      conversation.close();
      anew.close();
    });
  }

  test("what changes the text before is read anew: the system prompt, an edited turn", async () => {
    const conversation = await open();
    await ask(conversation, "hi");
    conversation.system = "be brief";
    const { keptTokens } = await ask(conversation, "so");
    assert.equal(keptTokens, 0);
    const anew = await open({ system: "be brief", messages: conversation.messages.slice(0, 2) });
    assert.equal((await ask(anew, "so")).text, conversation.messages.at(-1)!.content);
    anew.close();
    conversation.close();
  });

  test("a full context loses its oldest turns, with a word", async () => {
    const conversation = await open();
    const forgotten: number[] = [];
    for (let turn = 0; turn < 6; turn++) await ask(conversation, "tell me", (turns) => forgotten.push(turns));
    assert.ok(forgotten.length > 0);
    assert.equal(conversation.messages[0].role, "user");
    assert.ok(conversation.messages.length < 12);
    assert.ok(conversation.position <= conversation.limit);
    const before = conversation.messages;
    await assert.rejects(ask(conversation, "x".repeat(100)), /too long for the context/);
    assert.equal(conversation.messages, before);
    assert.equal((await ask(conversation, "and now")).tokens, 5);
    conversation.close();
  });

  test("an interrupt ends the answer and not the conversation", async () => {
    const conversation = await open({ maxTokens: 20 });
    const controller = new AbortController();
    const answer = await conversation.answer("hi", { signal: controller.signal, onText: () => controller.abort() });
    assert.deepEqual([answer.endedBy, answer.tokens], ["interrupt", 1]);
    const next = await ask(conversation, "go on");
    assert.ok(next.keptTokens > 0);
    const anew = await open({ maxTokens: 20, messages: conversation.messages.slice(0, 2) });
    assert.equal((await ask(anew, "go on")).text, next.text);
    conversation.close();
    anew.close();
  });

  test("a long question is read in pieces, between which an interrupt is heard", async () => {
    const long = { ...loaded, model: createModel({ ...sizes, contextLength: 1024 }) };
    const options = { maxTokens: 5, sampling: GREEDY };
    const question = "abc ".repeat(140);
    const conversation = await openConversation(long, plainFormat(tokenizer), options);
    const controller = new AbortController();
    controller.abort();
    const stopped = await conversation.answer(question, { signal: controller.signal, onText: () => undefined });
    assert.deepEqual([stopped.endedBy, stopped.tokens], ["interrupt", 0]);
    conversation.messages = [];
    const answer = await ask(conversation, question);
    assert.deepEqual([answer.promptTokens, answer.keptTokens], [560, 0]);
    const session = await openSession(long.model, parameters, device);
    const tokens: number[] = [];
    const sampler = new Sampler(model.vocabSize, GREEDY);
    for await (const token of session.generate(tokenizer.encode(question), { sampler, maxTokens: 5 }))
      tokens.push(token);
    assert.equal(answer.text, tokenizer.decode(tokens));
    session.close();
    conversation.close();
  });

  test("a small context is part of the answer's length", async () => {
    const conversation = await open({ capacity: 16, maxTokens: 100 }, true);
    const answer = await ask(conversation, "abcdef");
    assert.deepEqual([answer.endedBy, answer.tokens], ["context", 11]);
    conversation.close();
  });
});

describe("commands", () => {
  const subject = { name: "tiny", facts: ["architecture: llama"] };
  const at = (line: string, conversation: Conversation): string | undefined =>
    runChatCommand(line, conversation, subject);

  test("settings, system prompt, clear, show, save and load", async () => {
    const conversation = await open();
    await ask(conversation, "hi");
    at("/set temperature 0.5", conversation);
    at("/set parameter top_k 3", conversation);
    at("/system be kind", conversation);
    assert.deepEqual([conversation.sampling.temperature, conversation.sampling.topK], [0.5, 3]);
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
    conversation.close();
  });

  test("mistakes are said and change nothing", async () => {
    const conversation = await open();
    for (const line of ["/what", "/set", "/set temperature hot", "/set __proto__ 1", "/save", "/load"]) {
      assert.throws(() => at(line, conversation), ChatCommandError, line);
    }
    assert.throws(() => at("/set top_p 7", conversation), /topP cannot be 7/);
    assert.deepEqual(conversation.sampling, GREEDY);
    const file = join(folder, "other.json");
    for (const text of ["{", "[]", '{"messages":[1]}', '{"messages":{}}', '{"messages":[{"role":"user"}]}']) {
      writeFileSync(file, text);
      assert.throws(() => at(`/load ${file}`, conversation), ChatCommandError, text);
    }
    conversation.close();
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
