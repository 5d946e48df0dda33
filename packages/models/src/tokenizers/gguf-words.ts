// How the byte-level vocabularies of GGUF files cut words, by the name in `tokenizer.ggml.pre`. The names are those of
// llama.cpp (llama-vocab.cpp of ggml-org/llama.cpp); the patterns are those of the models' own tokenizer.json files.
// llama.cpp writes some of them (tekken, gpt-4o, tiny_aya) differently, because its engine knows no \p{Lu}, and then
// cuts letters beyond ASCII elsewhere than the models were trained with.

import { nearestName } from "../nearest.ts";
import type { WordStep } from "./pipeline-spec.ts";
import { VocabularyError } from "./tokenizer.ts";

/** How one family of vocabularies cuts and spells. */
export interface WordRules {
  /** Patterns, each of which cuts what the one before left. */
  readonly patterns: readonly string[];
  /** A word that is a token becomes that token whatever the merges say. */
  readonly wholeWords?: boolean;
  /** A BOS token begins a text unless the file says otherwise. */
  readonly addBos?: boolean;
  /** Spaces are written "▁" and bytes <0x00>, as SentencePiece does, instead of GPT-2's alphabet. */
  readonly escapesSpaces?: boolean;
}

const endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const spaces = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** The pattern that Llama 3 and most later ones vary: endings, words, numbers, signs, spaces. */
function later(numbers: string, signs = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"): string {
  return `${endings}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}|${signs}|${spaces}`;
}

/** Words in which capitals come before small letters, as in GPT-4o's and Mistral's pattern. */
function cased(ending: string, numbers: string): string {
  const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
  const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
  const start = "[^\\r\\n\\p{L}\\p{N}]?";
  const words = `${start}${upper}*${lower}+${ending}|${start}${upper}+${lower}*${ending}`;
  return `${words}|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`;
}

const deepseekWords =
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" +
  ` ?[\\p{P}\\p{S}]+[\\r\\n]*|${spaces}`;

/** Letters of the scripts with cases, as DeepSeek LLM's file lists them by range. */
const casedLetters =
  "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-" +
  "\\u1F7Dᾀ-ᾴᾶ-ᾼ\\u1FBEῂ-ῄῆ-ῌῐ-\\u1FD3ῖ-\\u1FDBῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\\u2126ℨ\\u212A-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ" +
  "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃";
const asianLetters = "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+";

const RULES = {
  default: { patterns: ["[\\p{P}$+<=>^~|]+", gpt2, "\\p{N}+", "[0-9][0-9][0-9]"] },
  gpt2: { patterns: [gpt2] },
  digits: { patterns: ["\\p{N}", gpt2] },
  llama3: { patterns: [later("\\p{N}{1,3}")], wholeWords: true, addBos: true },
  threeDigits: { patterns: [later("\\p{N}{1,3}")] },
  qwen2: { patterns: [later("\\p{N}")] },
  qwen35: {
    patterns: [
      `${endings}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${spaces}`,
    ],
  },
  minicpm5: { patterns: ["\\p{N}{1,3}", later("\\p{N}+")], wholeWords: true },
  seedCoder: { patterns: [later("\\p{N}", " ?[^\\s\\p{L}\\p{N}\\r\\n]+")] },
  bailing: {
    patterns: [
      "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|" +
        "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    ],
  },
  deepseekLlm: {
    patterns: [
      "[\\r\\n]",
      `\\s?[${casedLetters}]+`,
      "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
      "\\s+$",
      asianLetters,
      "\\p{N}+",
    ],
  },
  deepseekCoder: { patterns: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", asianLetters, "\\p{N}"] },
  deepseek3: { patterns: ["\\p{N}{1,3}", "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+", deepseekWords] },
  falcon: { patterns: ["[\\p{P}$+<=>^~|`]+", gpt2, "[0-9][0-9][0-9]"] },
  bloom: { patterns: [" ?[^(\\s|.,!?…。，、।۔،)]+"] },
  viking: { patterns: [" ?[^(\\s|.,!?…。，、।۔،)]+", "\\p{N}"] },
  tekken: { patterns: [cased("", "\\p{N}")], wholeWords: true, addBos: true },
  gpt4o: { patterns: [cased(`${endings}?`, "\\p{N}{1,3}")] },
  tinyAya: { patterns: ["\\d{1,3}(?=(?:\\d{3})*\\b)", cased(`${endings}?`, "\\p{N}{1,3}")] },
  gemma4: { patterns: ["[^\\n]+|[\\n]+"], wholeWords: true, addBos: true, escapesSpaces: true },
} satisfies Readonly<Record<string, WordRules>>;

/** The names of `tokenizer.ggml.pre`, by the rules that they share. */
const NAMES: Readonly<Record<keyof typeof RULES, string>> = {
  default: "default",
  gpt2:
    "gpt-2 phi-2 jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code gigachat a.x-4.0 mellum modern-bert " +
    "mpt olmo jais trillion granite-docling exaone4 roberta-bpe",
  digits: "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
  llama3: "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
  threeDigits: "dbrx smaug-bpe glm4 chatglm-bpe",
  qwen2: "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
  qwen35: "qwen35",
  minicpm5: "minicpm5",
  seedCoder: "seed-coder",
  bailing: "bailingmoe bailingmoe2 llada-moe",
  deepseekLlm: "deepseek-llm",
  deepseekCoder: "deepseek-coder",
  deepseek3: "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
  falcon: "falcon",
  bloom: "bloom poro-chat gpt3-finnish",
  viking: "viking",
  tekken: "tekken",
  gpt4o: "gpt-4o llama4 kanana2 talkie minimax-m2",
  tinyAya: "tiny_aya cohere2moe",
  gemma4: "gemma4 granite-embed-multi-311m sarvam-moe",
};

const rulesByName = new Map<string, WordRules>(
  (Object.keys(RULES) as (keyof typeof RULES)[]).flatMap((rules) =>
    NAMES[rules].split(" ").map((name): [string, WordRules] => [name, RULES[rules]]),
  ),
);

/** Every name that `tokenizer.ggml.pre` may have. */
export const GGUF_WORD_NAMES: readonly string[] = [...rulesByName.keys()];

/** The rules of a name. Throws `VocabularyError` with the nearest known name. */
export function wordRules(name: string): WordRules {
  const rules = rulesByName.get(name);
  if (rules !== undefined) return rules;
  throw new VocabularyError("the file cuts words in a way that is not known", {
    where: "tokenizer.ggml.pre",
    expected: `a known name, such as ${JSON.stringify(nearestName(name, GGUF_WORD_NAMES))}`,
    got: JSON.stringify(name.slice(0, 80)),
    hint: "use the model's tokenizer.json instead, which says how its words are cut",
  });
}

/** The steps of such rules. */
export function wordSteps({ patterns, escapesSpaces }: WordRules): WordStep[] {
  const steps = patterns.map((pattern): WordStep => {
    return { type: "split", pattern, literal: false, behavior: "isolated", invert: false };
  });
  return escapesSpaces === true ? steps : [...steps, { type: "bytes" }];
}
