// Conversations with tiny random models on the interpreter: what they read is what reading all of it anew would be, and
// templates say where an answer ends.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import { CHAT_TEMPLATES, ChatTemplate, tokenizerFromGguf } from "@fidelity/models";
import type { ChatTemplateName } from "@fidelity/models";
import type { GenerationResult } from "../generation-types.ts";
import { LanguageModel } from "../language-model.ts";
import type { ChatStart } from "../language-model.ts";
import { tinyModel, tinyTokenizer } from "../testing.ts";
import type { Chat } from "./chat.ts";
import { turnEndOf } from "./turn-end.ts";

const template = new ChatTemplate(
  "{%- for m in messages -%}<{{ 'a' if m.role == 'assistant' else m.role }}>{{ m.content }}\n{%- endfor -%}{%- if add_generation_prompt -%}<a>{%- endif -%}",
);
const parts = { ...tinyModel(createInterpreter()), chatTemplate: () => template };
const GREEDY = { temperature: 0, maxTokens: 5 };

function open(settings: ChatStart = {}, context?: number): Chat {
  return new LanguageModel(parts, { context }).chat({ ...GREEDY, ...settings });
}

function ask(chat: Chat, question: string): Promise<GenerationResult> {
  return chat.send(question).result();
}

describe("a conversation", () => {
  for (const form of [undefined, "plain"] as const) {
    test(`keeps what was read, and answers as if it read all anew (${form ?? "template"})`, async () => {
      const chat = open({ template: form });
      const first = await ask(chat, "hi");
      assert.deepEqual([first.tokens.length, first.usage.cachedTokens, first.endedBy], [5, 0, "tokens"]);
      const second = await ask(chat, "and you");
      // All but the last token of the answer, which was given out and not read.
      assert.equal(second.usage.cachedTokens, first.usage.promptTokens + 4);
      const anew = open({ template: form, messages: chat.messages.slice(0, 2) });
      const again = await ask(anew, "and you");
      assert.deepEqual([again.usage.cachedTokens, again.text], [0, second.text]);
      assert.equal(again.usage.promptTokens, second.usage.promptTokens);
      assert.equal(chat.tokenCount, second.usage.promptTokens + 5);
    });
  }

  test("messages are answered as a conversation of them is", async () => {
    const chat = open();
    await ask(chat, "hi");
    const { text } = await ask(chat, "and you");
    const loaded = new LanguageModel(parts);
    const messages = [...chat.messages.slice(0, 2), { role: "user", content: "and you" }];
    assert.equal((await loaded.generate(messages, GREEDY).result()).text, text);
  });

  test("what changes the text before is read anew from there: the system prompt, an edited turn", async () => {
    const chat = open();
    await ask(chat, "hi");
    chat.system = "be brief";
    const { usage } = await ask(chat, "so");
    assert.equal(usage.cachedTokens, 1); // both begin with <
    const anew = open({ system: "be brief", messages: chat.messages.slice(0, 2) });
    assert.equal((await ask(anew, "so")).text, chat.messages.at(-1)!.content);
    chat.messages = [
      { role: "user", content: "hi" },
      { role: "assistant", content: "ho" },
    ];
    const edited = open({ system: "be brief", messages: chat.messages });
    assert.equal((await ask(chat, "so")).text, (await ask(edited, "so")).text);
  });

  test("a full context loses its oldest turns", async () => {
    const chat = open();
    for (let turn = 0; turn < 6; turn++) {
      const expected = chat.forgottenTurns + chat.turnsToForget("tell me"); // known before the answer
      await ask(chat, "tell me");
      assert.equal(chat.forgottenTurns, expected);
    }
    assert.ok(chat.forgottenTurns > 0);
    assert.equal(chat.messages[0].role, "user");
    assert.equal(chat.messages.length, 12 - 2 * chat.forgottenTurns);
    assert.ok(chat.tokenCount <= chat.limit);
    const before = chat.messages;
    assert.throws(() => chat.send("x".repeat(100)), /too long for the context/);
    assert.equal(chat.messages, before);
    assert.equal((await ask(chat, "and now")).tokens.length, 5);
  });

  test("an interrupt ends the answer and not the conversation", async () => {
    const chat = open();
    const answer = chat.send("hi", { maxTokens: 20 });
    for await (const _ of answer) break;
    assert.deepEqual([(await answer.result()).endedBy, answer.tokens.length], ["interrupt", 1]);
    assert.deepEqual(chat.messages[1], { role: "assistant", content: answer.text });
    const next = await ask(chat, "go on");
    assert.ok(next.usage.cachedTokens > 0);
    const anew = open({ messages: chat.messages.slice(0, 2) });
    assert.equal((await ask(anew, "go on")).text, next.text);
  });

  test("an answer that stops at a string of the template goes on behind it", async () => {
    // The tiny vocabulary spells the end of a turn in several tokens.
    const spelled = new ChatTemplate(
      "{%- for m in messages -%}<{{ m.role[0] }}>{{ m.content }}<|e|>{%- endfor -%}{%- if add_generation_prompt -%}<a>{%- endif -%}",
    );
    const chat = open({ template: spelled, maxTokens: 12, constraint: { regex: "yes<\\|e\\|>.*" } });
    const first = await ask(chat, "hi");
    assert.deepEqual([first.text, first.endedBy], ["yes", "stop-string"]);
    const second = await ask(chat, "so");
    assert.equal(second.text, "yes");
    assert.ok(second.usage.cachedTokens >= first.usage.promptTokens + 6, JSON.stringify(second.usage));
  });

  test("a small context is part of the answer's length", async () => {
    const { endedBy, tokens } = await open({ template: "plain" }, 16).send("abcdef", { maxTokens: 100 }).result();
    assert.deepEqual([endedBy, tokens.length], ["context", 11]);
  });
});

describe("the end of a turn", () => {
  const pieces = [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_end|>",
    "<end_of_turn>",
    "▁",
    ..."abcdefghijklmnopqrstuvwxyz<>|_/:#-\n",
  ];
  const metadata: Readonly<Record<string, unknown>> = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": pieces,
    "tokenizer.ggml.scores": pieces.map((_, token) => -token),
    "tokenizer.ggml.token_type": pieces.map((_, token) => (token === 0 ? 2 : token < 5 ? 3 : 1)),
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
  };
  const tokenizer = tokenizerFromGguf((key) => metadata[key]);
  const ends = (given: ChatTemplate) => turnEndOf(given, tokenizer, { bosToken: "<s>", eosToken: "</s>" });

  test("is a token where the vocabulary has it, and a string where it spells it", () => {
    const expected: Readonly<Record<ChatTemplateName, string | number>> = {
      chatml: 3,
      deepseek: "<｜end▁of▁sentence｜>",
      gemma: 4,
      llama2: 2,
      llama3: "<|eot_id|>",
      mistral: 2,
      phi3: "<|end|>",
      zephyr: 2,
    };
    for (const name of Object.keys(CHAT_TEMPLATES) as ChatTemplateName[]) {
      const { stop, stopTokens } = ends(ChatTemplate.named(name));
      assert.deepEqual([...stop, ...stopTokens], [expected[name]], name);
    }
    assert.deepEqual(turnEndOf(ChatTemplate.named("chatml"), tinyTokenizer).stop, ["<|im_end|>"]);
  });

  test("is the header of the next turn where nothing else ends one", () => {
    const alpaca = new ChatTemplate(
      "{%- for m in messages -%}{{ '### ' + m.role + ':\n' + m.content + '\n\n' }}{%- endfor -%}",
    );
    assert.deepEqual(ends(alpaca), { stop: ["\n### user:"], stopTokens: [] });
    const colons = new ChatTemplate("{%- for m in messages -%}{{ m.role }}: {{ m.content }} {% endfor -%}");
    assert.deepEqual(ends(colons).stop, ["user:"]);
  });

  test("is left to the tokenizer by templates that say nothing, or refuse", () => {
    for (const source of [
      "{{ messages[0].content }}",
      "{{ raise_exception('no') }}",
      "{% for m in messages %}{{ m.content }} {% endfor %}",
    ]) {
      assert.deepEqual(ends(new ChatTemplate(source)), { stop: [], stopTokens: [] }, source);
    }
  });
});
