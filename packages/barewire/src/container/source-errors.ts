// The ways in which a source of bytes can fail to give them, one class each: a server that is down is another matter
// than a file that changed while it was read.

import { FidelityError } from "@fidelity/units";

/** A source of bytes could not give them. */
export class SourceError extends FidelityError {}

/** The server answered with a status that is not what was asked for. */
export class HttpStatusError extends SourceError {
  readonly status: number;

  constructor(name: string, status: number, statusText: string) {
    super("the server does not give the file", {
      where: name,
      expected: "status 206, partial content",
      got: `status ${status}${statusText === "" ? "" : ` ${statusText}`}`,
      hint:
        status === 404 || status === 410
          ? "check the address"
          : status === 401 || status === 403
            ? "check the address and the right to read it"
            : "try again later",
    });
    this.status = status;
  }
}

/** No answer, a connection that broke, or one that fell silent. */
export class NetworkError extends SourceError {
  constructor(name: string, got: string, cause?: unknown) {
    super("the server cannot be reached, or the connection broke", {
      where: name,
      got,
      hint: "check the address and the network, and try again",
      cause,
    });
  }
}

/** The server sends the whole file where a part was asked for, and the whole is too much. */
export class RangesIgnoredError extends SourceError {
  constructor(name: string, sizeBytes: number | undefined, limitBytes: number) {
    super("the server ignores ranges and sends the whole file", {
      where: name,
      expected: `status 206, or a file of at most ${limitBytes} bytes`,
      got: `status 200, ${sizeBytes === undefined ? "more" : `${sizeBytes} bytes`}`,
      hint: "use a server that supports range requests, raise `wholeBytesMax`, or download the file first",
    });
  }
}

/** The server sent another part of the file than the one that was asked for. */
export class WrongRangeError extends SourceError {
  constructor(name: string, expected: string, got: string) {
    super("the server sent another part of the file than was asked for", {
      where: name,
      expected,
      got,
      hint: "the server or a proxy before it is at fault; download the file first",
    });
  }
}

/** The body ended before its range did. */
export class ShortBodyError extends SourceError {
  constructor(name: string, expectedBytes: number, gotBytes: number) {
    super("the server's answer ends too early", {
      where: name,
      expected: `${expectedBytes} bytes`,
      got: `${gotBytes}`,
      hint: "try again",
    });
  }
}

/** The file on the server is not the one of the first request any more. */
export class ChangedSourceError extends SourceError {
  constructor(name: string, expected: string, got: string) {
    super("the file changed on the server while it was read", {
      where: name,
      expected,
      got,
      hint: "open it again; what was read before belongs to the old file",
    });
  }
}

/** The file is larger than the limit that was set for it. */
export class SourceTooLargeError extends SourceError {
  constructor(name: string, limitBytes: number, got: string) {
    super("the file on the server is too large", {
      where: name,
      expected: `at most ${limitBytes} bytes`,
      got,
      hint: "raise `sizeBytesMax` where you trust the server",
    });
  }
}
