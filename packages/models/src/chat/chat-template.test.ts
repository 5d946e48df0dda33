import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CHAT_TEMPLATES, ChatTemplate, ChatTemplateError } from "./index.ts";
import type { ChatMessage } from "./index.ts";
import { tagLines } from "./template-lines.ts";

const talk: readonly ChatMessage[] = [
  { role: "system", content: "Be kind." },
  { role: "user", content: "Hello" },
  { role: "assistant", content: "Hi!" },
  { role: "user", content: "Who are you?" },
];
const ends = { bosToken: "<s>", eosToken: "</s>" };

test("templates by name write what the models' pages show", () => {
  const expected: Readonly<Record<keyof typeof CHAT_TEMPLATES, string>> = {
    chatml:
      "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n" +
      "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
    llama2: "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHello [/INST] Hi! </s><s>[INST] Who are you? [/INST]",
    llama3:
      "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n" +
      "Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>" +
      "<|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    gemma:
      "<s><start_of_turn>user\nBe kind.\n\nHello<end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>\n" +
      "<start_of_turn>user\nWho are you?<end_of_turn>\n<start_of_turn>model\n",
    mistral: "<s>[INST] Be kind.\n\nHello [/INST] Hi!</s>[INST] Who are you? [/INST]",
    zephyr:
      "<|system|>\nBe kind.</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi!</s>\n<|user|>\nWho are you?</s>\n<|assistant|>\n",
    phi3:
      "<|system|>\nBe kind.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\nHi!<|end|>\n<|user|>\nWho are you?<|end|>\n" +
      "<|assistant|>\n",
    deepseek: "<s>Be kind.<｜User｜>Hello<｜Assistant｜>Hi!<｜end▁of▁sentence｜><｜User｜>Who are you?<｜Assistant｜>",
  };
  for (const [name, text] of Object.entries(expected)) {
    assert.equal(ChatTemplate.named(name).render(talk, ends), text, name);
  }
  assert.equal(
    ChatTemplate.named("chatml").render(talk.slice(1, 2), { addGenerationPrompt: false }),
    "<|im_start|>user\nHello<|im_end|>\n",
  );
  assert.throws(() => ChatTemplate.named("chat-ml"), /did you mean chatml/);
});

test("a template of a file: tools, variables, time, fields of messages, macros", () => {
  const template = new ChatTemplate(`{%- macro turn(role, text) -%}
<{{ role }}>{{ text | trim }}</{{ role }}>
{%- endmacro -%}
{%- if tools %}{{ turn('tools', tools | tojson) }}{% endif -%}
{# a comment with {{ tags }} #}
{%- for message in messages if message.role != 'system' -%}
  {{- turn(message.role, message.content) -}}
  {%- for call in message.tool_calls or [] -%}{{ call.name }}({{ call.arguments | tojson(indent=none) }}){%- endfor -%}
{%- endfor -%}
{{ strftime_now('%d %b %Y') if strftime_now is defined else 'no date' }} {{ style }} {{ range(3) | join('-') }}`);
  const messages = [
    ...talk.slice(0, 2),
    { role: "assistant", content: " x ", tool_calls: [{ name: "f", arguments: { a: 1 } }] },
  ];
  assert.equal(
    template.render(messages, { tools: [{ name: "f" }], variables: { style: "kind" }, now: new Date(2024, 6, 5) }),
    '<tools>[{"name": "f"}]</tools><user>Hello</user><assistant>x</assistant>f({"a": 1})05 Jul 2024 kind 0-1-2',
  );
  assert.equal(template.render([]), "no date  0-1-2");
});

test("templates are found in metadata and in configurations", () => {
  const metadata: Readonly<Record<string, unknown>> = {
    "tokenizer.chat_template": "a",
    "tokenizer.chat_template.tool_use": "b",
  };
  const lookup = (key: string): unknown => metadata[key];
  assert.equal(ChatTemplate.fromGguf(lookup)?.source, "a");
  assert.equal(ChatTemplate.fromGguf(lookup, "tool_use")?.source, "b");
  assert.equal(ChatTemplate.fromGguf(lookup, "rag"), undefined);
  const named = { chat_template: [{ name: "default", template: "c" }, { name: "rag", template: "d" }, null, 5] };
  assert.equal(ChatTemplate.fromHuggingFace({ config: named })?.source, "c");
  assert.equal(ChatTemplate.fromHuggingFace({ config: named }, "rag")?.source, "d");
  assert.equal(ChatTemplate.fromHuggingFace({ config: { chat_template: "e" } })?.source, "e");
  assert.equal(ChatTemplate.fromHuggingFace({ config: named, jinja: "f" })?.source, "f");
  for (const config of [undefined, null, {}, { chat_template: 5 }]) {
    assert.equal(ChatTemplate.fromHuggingFace({ config }), undefined);
  }
});

test("an error names the line of the template", () => {
  const cases: readonly (readonly [source: string, message: RegExp])[] = [
    ["a\nb\n{{ messages[", /cannot be read(.|\n)*line 3 of the chat template: {{ messages\[/],
    ["a\n{% wat %}\nb", /line 2 of the chat template: {% wat %}(.|\n)*Unknown statement type: wat/],
    ["a\n{{ 'open }}\nb", /cannot be read(.|\n)*line 2/],
    ["a\n\n{% if true %}\n{% for x in 5 %}{% endfor %}\n{% endif %}", /fails(.|\n)*line 4 of the chat template/],
    [
      "{% set x = '{{' %}\n{# {{ #}\n{{ raise_exception('roles must alternate') }}",
      /refuses the conversation: roles(.|\n)*line 3/,
    ],
    ["a\n{{ 'x' | nonsense }}", /line 2 of the chat template(.|\n)*nonsense/],
    ["{% for i in range(9) %}\n{% for j in range(10 ** 9) %}{% endfor %}\n{% endfor %}", /takes too much(.|\n)*line 2/],
  ];
  for (const [source, message] of cases) {
    assert.throws(
      () => new ChatTemplate(source).render(talk),
      (error) => {
        assert.ok(error instanceof ChatTemplateError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  }
  assert.deepEqual(tagLines("{{ '}}' }}\n{# {% #}\n{% if {'a': {}} %}\n\n{{ {'b': {'c': 1}} }}{{ 2 }}"), [1, 3, 5, 5]);
});

test("hostile templates end with an error, whatever they do", () => {
  const grown = "{% set n = namespace(a='x') %}{% for i in range(16) %}{% set n.a = n.a + n.a %}{% endfor %}";
  const hostile: readonly string[] = [
    "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
    "{% for i in range(10 ** 15) %}x{% endfor %}{{ range(0, 5, 0) }}",
    "{% set n = namespace(a='x') %}{% for i in range(100) %}{% set n.a = n.a + n.a %}{% endfor %}{{ n.a }}",
    "{% set n = namespace(a=['x']) %}{% for i in range(99) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}",
    "{% set n = namespace() %}{% set n.a = [n] %}{{ n.a | tojson }}",
    "{% set n = namespace() %}{% set n.a = n %}{{ n.a }}",
    `${grown}{{ n.a.replace('', n.a) }}`,
    `${grown}{{ n.a | replace('', n.a) }}`,
    `${grown}{{ range(10000) | join(n.a) }}`,
    `${grown}{% for i in range(1000000) %}{% if 'y' in n.a %}{% endif %}{% endfor %}`,
    "{{ 'a\\nb' | indent(10 ** 9) }}",
    "{{ [1] | tojson(indent=10 ** 8) }}",
    "{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(30) }}",
    `{{ ${"(".repeat(9000)}1${")".repeat(9000)} }}`,
    `{{ 1 ${"| int ".repeat(20_000)}}}`,
    "{{".repeat(30_000),
    `${" ".repeat(100_000)}{{- 1 }}`,
    "x".repeat(200_000),
  ];
  for (const source of hostile) {
    assert.throws(() => new ChatTemplate(source).render(talk), ChatTemplateError, source.slice(0, 100));
  }
});

test("a long conversation is no attack", () => {
  const messages = Array.from({ length: 400 }, (_, turn) => ({
    role: turn % 2 === 0 ? "user" : "assistant",
    content: "What is said is said. ".repeat(20),
  }));
  for (const name of Object.keys(CHAT_TEMPLATES)) {
    assert.ok(ChatTemplate.named(name).render(messages, ends).length > 400 * 440, name);
  }
});

test("damaged templates render or fail with an error of ours", () => {
  const sources = Object.values(CHAT_TEMPLATES);
  fc.assert(
    fc.property(
      fc.constantFrom(...sources),
      fc.nat(),
      fc.nat(60),
      fc.string({ maxLength: 8 }),
      (source, at, cut, text) => {
        const start = at % source.length;
        try {
          new ChatTemplate(source.slice(0, start) + text + source.slice(start + cut)).render(talk, ends);
        } catch (error) {
          assert.ok(error instanceof ChatTemplateError, String(error));
        }
      },
    ),
    { numRuns: 400, seed: 8 },
  );
});
