// A channel to a worker thread, with values of a BARE schema. Between a page and its workers it is the same: post the
// handles, attach them on both sides, and use the asynchronous side in the page. Run it:
// `node packages/barewire/examples/channel-thread.ts`.

import { once } from "node:events";
import { Worker, isMainThread, workerData } from "node:worker_threads";

import {
  ChannelClosedError,
  TypedReceiver,
  TypedSender,
  attachThreadChannel,
  bare,
  createThreadChannel,
} from "@fidelity/barewire";
import type { ThreadHandle } from "@fidelity/barewire";

const question = bare.struct({ id: bare.u32, text: bare.str });
const answer = bare.struct({ id: bare.u32, length: bare.u32 });

interface Handles {
  readonly questions: ThreadHandle;
  readonly answers: ThreadHandle;
}

if (isMainThread) await ask({ questions: createThreadChannel(), answers: createThreadChannel() });
else reply(workerData);

async function ask(handles: Handles): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: handles });
  const ended = once(worker, "exit");
  using sender = new TypedSender(question, attachThreadChannel(handles.questions).sender());
  using receiver = new TypedReceiver(answer, attachThreadChannel(handles.answers).receiver());
  for (const [id, text] of ["zero", "copy", "between threads"].entries()) {
    await sender.sendAsync({ id, text });
    const { length } = await receiver.takeAsync();
    console.log(`"${text}" has ${length} letters`);
  }
  sender[Symbol.dispose]();
  await ended;
}

function reply({ questions, answers }: Handles): void {
  using receiver = new TypedReceiver(question, attachThreadChannel(questions).receiver());
  using sender = new TypedSender(answer, attachThreadChannel(answers).sender());
  try {
    for (;;) {
      const { id, text } = receiver.take();
      sender.send({ id, length: text.length });
    }
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
  }
}

// Output:
// "zero" has 4 letters
// "copy" has 4 letters
// "between threads" has 15 letters
