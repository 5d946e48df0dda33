// Bytes written as characters, in the three ways that vocabularies have: GPT-2's alphabet, in which every byte is a
// character that prints (`bytes_to_unicode` in encoder.py of openai/gpt-2), names such as <0x0A>, and Python's escapes.

const encoder = new TextEncoder();

/** GPT-2's character of each byte: itself where it prints, or else one from U+0100 on, in order. */
export const alphabet: readonly string[] = makeAlphabet();
const byteOfCharacter = new Map(alphabet.map((character, byte) => [character, byte]));

function makeAlphabet(): string[] {
  const characters: string[] = [];
  let spare = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    characters.push(String.fromCharCode(prints ? byte : spare++));
  }
  return characters;
}

/** The bytes of a text in UTF-8, each as GPT-2's character for it. */
export function toByteText(text: string): string {
  let result = "";
  for (const byte of encoder.encode(text)) result += alphabet[byte];
  return result;
}

/** The bytes that GPT-2's characters stand for; a character outside that alphabet stands for its own UTF-8. */
export function fromByteText(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) bytes.push(...encoder.encode(character));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** `<0x0A>` for 10. */
export function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** The byte that a name such as `<0x0A>` stands for; -1 for any other text. */
export function namedByte(text: string): number {
  return /^<0x[0-9A-F]{2}>$/.test(text) ? Number.parseInt(text.slice(3, 5), 16) : -1;
}

const ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, r: 13 };

/** The bytes of a text with Python's escapes \t, \n, \r, \xNN and \ before any other character. */
export function fromEscapes(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const [found, hex, escaped] of text.matchAll(/\\x([0-9A-Fa-f]{2})|\\([^])|[^]/gu)) {
    if (hex !== undefined) bytes.push(Number.parseInt(hex, 16));
    else if (escaped !== undefined && Object.hasOwn(ESCAPES, escaped)) bytes.push(ESCAPES[escaped]);
    else bytes.push(...encoder.encode(escaped ?? found));
  }
  return Uint8Array.from(bytes);
}

/** Bytes as a text of the same length, one character of U+0000 to U+00FF a byte. */
export function toLatin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}
