// The entry of a worker thread that is a member of a team. See team.node.ts.

import { receiveMessageOnPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { serveMember } from "./member.ts";
import { openLoadable } from "./open.node.ts";
import { pinThread } from "./pin.node.ts";
import type { MemberInit, MemberMail } from "./protocol.ts";

const { init, port } = workerData as { init: MemberInit; port: MessagePort };
// One that cannot be pinned after all, because the process lost the processor, works where it is.
if (init.processor !== undefined) pinThread(init.processor);
await serveMember(init, () => receiveMessageOnPort(port)?.message as MemberMail | undefined, openLoadable);
