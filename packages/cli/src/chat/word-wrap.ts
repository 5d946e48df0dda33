// Text for a terminal as it comes, broken between words and never in one. A word is held back until it has ended. Wide
// characters (East Asian Width, UAX #11, in its main blocks) take two columns and may stand at either end of a line.

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

export class WordWrap {
  readonly #columns: number;
  #column = 0;
  #word = "";
  #wordColumns = 0;
  /** Blanks before the word; they vanish where the line breaks. */
  #blanks = "";

  /** @param columns of the terminal; Infinity never breaks a line */
  constructor(columns: number) {
    this.#columns = columns;
  }

  /** Takes a piece of text and gives what may be shown. */
  push(piece: string): string {
    let shown = "";
    for (const character of piece) {
      const isBlank = character === " " || character === "\t";
      const isWide = WIDE.test(character);
      if (character === "\n" || isBlank || isWide) shown += this.#endWord();
      if (character === "\n") {
        shown += `${this.#blanks}\n`;
        [this.#blanks, this.#column] = ["", 0];
      } else if (isBlank) {
        this.#blanks += character;
      } else {
        this.#word += character;
        this.#wordColumns += isWide ? 2 : 1;
        if (isWide) shown += this.#endWord();
      }
    }
    return shown;
  }

  /** What was held back, at the end of the text. */
  end(): string {
    const shown = this.#endWord() + this.#blanks;
    [this.#blanks, this.#column] = ["", 0];
    return shown;
  }

  #endWord(): string {
    if (this.#word === "") return "";
    const columns = this.#column + this.#blanks.length + this.#wordColumns;
    const breaks = this.#column > 0 && columns > this.#columns;
    const shown = (breaks ? "\n" : this.#blanks) + this.#word;
    this.#column = breaks ? this.#wordColumns : columns;
    [this.#word, this.#wordColumns, this.#blanks] = ["", 0, ""];
    return shown;
  }
}
