// The entry of a web worker that is a member of a team. See team-browser.ts. The first message says what it is a member
// of, the others are mail; what comes before it is asked for waits here.

import { serveMember } from "./member.ts";
import type { MemberInit, MemberMail } from "./protocol.ts";
import { openWasm } from "./open-wasm.ts";

const arrived: unknown[] = [];
const awaited: ((message: unknown) => void)[] = [];

addEventListener("message", ({ data }: MessageEvent<unknown>) => {
  const next = awaited.shift();
  if (next === undefined) arrived.push(data);
  else next(data);
});

function receive(): Promise<unknown> {
  if (arrived.length > 0) return Promise.resolve(arrived.shift());
  const { promise, resolve } = Promise.withResolvers<unknown>();
  awaited.push(resolve);
  return promise;
}

const init = (await receive()) as MemberInit;
await serveMember(init, () => receive() as Promise<MemberMail>, openWasm);
