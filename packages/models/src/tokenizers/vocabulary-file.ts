// llama2.c's tokenizer file: an int32 with the longest piece, and then for each token a float32 score, an int32 length
// and that many bytes (tokenizer.py and `build_tokenizer` in run.c of karpathy/llama2.c). SentencePiece's meta symbol
// is already a space in it, and the two control tokens read "\n<s>\n" and "\n</s>\n".

import { byteName, toLatin1 } from "./byte-text.ts";
import { VocabularyError } from "./tokenizer.ts";

/** A piece of the vocabulary: its bytes, and how eagerly it is merged (higher first). */
export interface VocabularyPiece {
  readonly bytes: Uint8Array;
  readonly score: number;
}

const longestPieceAllowed = 4096;
const mostPiecesAllowed = 1 << 22;

/** Ids 3 to 258 spell the 256 bytes as <0x00> to <0xFF>. */
export const firstByteToken = 3;
const smallestVocabSize = firstByteToken + 256;

/**
 * Reads a tokenizer file. Throws `VocabularyError` with the byte offset for anything that llama2.c could not use: a
 * truncated file, impossible lengths, NaN scores, missing byte tokens.
 */
export function readVocabularyFile(file: Uint8Array, fileName: string): VocabularyPiece[] {
  const refuse = (byteOffset: number, expected: string, got: string): VocabularyError =>
    new VocabularyError(`${fileName} is not a llama2.c tokenizer file`, {
      where: `${fileName}, byte ${byteOffset}`,
      expected,
      got,
      hint: "fetch the file again; it is called tokenizer.bin or tok512.bin next to the model",
    });
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.byteLength < 4) throw refuse(0, "at least 4 bytes", `${file.byteLength} bytes`);
  const longest = view.getInt32(0, true);
  if (longest < 1 || longest > longestPieceAllowed) {
    throw refuse(0, `a longest piece of 1 to ${longestPieceAllowed} bytes`, String(longest));
  }
  const pieces: VocabularyPiece[] = [];
  let byteOffset = 4;
  while (byteOffset < file.byteLength) {
    if (pieces.length === mostPiecesAllowed) throw refuse(byteOffset, `up to ${mostPiecesAllowed} tokens`, "more");
    const leftBytes = file.byteLength - byteOffset;
    if (leftBytes < 8) throw refuse(byteOffset, "8 bytes of score and length", `the last ${leftBytes} bytes`);
    const score = view.getFloat32(byteOffset, true);
    const sizeBytes = view.getInt32(byteOffset + 4, true);
    if (!Number.isFinite(score)) throw refuse(byteOffset, `a finite score for token ${pieces.length}`, String(score));
    if (sizeBytes < 1 || sizeBytes > longest) {
      throw refuse(byteOffset + 4, `a piece of 1 to ${longest} bytes for token ${pieces.length}`, `${sizeBytes} bytes`);
    }
    if (sizeBytes > leftBytes - 8) {
      throw refuse(byteOffset + 8, `${sizeBytes} bytes for token ${pieces.length}`, `the last ${leftBytes - 8} bytes`);
    }
    byteOffset += 8;
    pieces.push({ bytes: new Uint8Array(file.subarray(byteOffset, byteOffset + sizeBytes)), score });
    byteOffset += sizeBytes;
  }
  checkByteTokens(pieces, refuse);
  return pieces;
}

/** Writes a tokenizer file that `readVocabularyFile` reads back. */
export function writeVocabularyFile(pieces: readonly VocabularyPiece[]): Uint8Array {
  const sizeBytes = pieces.reduce((sum, piece) => sum + 8 + piece.bytes.byteLength, 4);
  const file = new Uint8Array(sizeBytes);
  const view = new DataView(file.buffer);
  view.setInt32(
    0,
    pieces.reduce((longest, piece) => Math.max(longest, piece.bytes.byteLength), 0),
    true,
  );
  let byteOffset = 4;
  for (const piece of pieces) {
    view.setFloat32(byteOffset, piece.score, true);
    view.setInt32(byteOffset + 4, piece.bytes.byteLength, true);
    file.set(piece.bytes, byteOffset + 8);
    byteOffset += 8 + piece.bytes.byteLength;
  }
  return file;
}

function checkByteTokens(
  pieces: readonly VocabularyPiece[],
  refuse: (byteOffset: number, expected: string, got: string) => VocabularyError,
): void {
  if (pieces.length < smallestVocabSize) {
    throw refuse(4, `at least ${smallestVocabSize} tokens, 256 of them for the bytes`, `${pieces.length} tokens`);
  }
  for (let byte = 0; byte < 256; byte++) {
    const expected = byteName(byte);
    const got = toLatin1(pieces[firstByteToken + byte].bytes);
    if (got !== expected) throw refuse(4, `token ${firstByteToken + byte} to be ${expected}`, JSON.stringify(got));
  }
}
