// Workers for the suites, the same in Node and in browsers: a crew starts them, gives each one role at a time
// (roles.ts), uses those that are done again, and terminates one in the middle of its role where a case asks for that.

import { CheckError } from "./suite.ts";
import type { Roles } from "./roles.ts";

/** What a crew tells a worker to do. */
export interface Order {
  readonly role: keyof Roles;
  readonly args: unknown;
}

/** What came of it. */
export type Reply = { readonly result: unknown } | { readonly error: string };

/** A worker as its starter sees it. */
export interface Hand {
  post(order: Order): void;
  terminate(): unknown;
}

/** Starts a worker; `reply` is called for each order that it has done, and when it fails by itself. */
export type StartHand = (reply: (reply: Reply) => void) => Hand;

/** A role that a worker plays. */
export interface Job<T> {
  readonly result: Promise<T>;
  /** Ends the worker, whatever it does. */
  terminate(): Promise<void>;
}

interface Member {
  readonly hand: Hand;
  waiter: PromiseWithResolvers<unknown> | undefined;
}

/** The workers of one thread. */
export class Crew {
  readonly #startHand: StartHand;
  readonly #members = new Set<Member>();

  constructor(startHand: StartHand) {
    this.#startHand = startHand;
  }

  /** Has a worker play a role. */
  start<R extends keyof Roles>(role: R, args: Parameters<Roles[R]>[0]): Job<Awaited<ReturnType<Roles[R]>>> {
    type Result = Awaited<ReturnType<Roles[R]>>;
    const member = [...this.#members].find(({ waiter }) => waiter === undefined) ?? this.#hire();
    const waiter = Promise.withResolvers<unknown>();
    member.waiter = waiter;
    waiter.promise.catch(() => {}); // a case that fails for another reason does not ask for it
    member.hand.post({ role, args });
    const terminate = async (): Promise<void> => {
      this.#members.delete(member);
      await member.hand.terminate();
    };
    return { result: waiter.promise as Promise<Result>, terminate };
  }

  /** Ends all workers. */
  async dismiss(): Promise<void> {
    const members = [...this.#members];
    this.#members.clear();
    for (const { hand } of members) await hand.terminate();
  }

  #hire(): Member {
    const hand = this.#startHand((reply) => {
      const { waiter } = member;
      member.waiter = undefined;
      if ("error" in reply) waiter?.reject(new CheckError(`in a worker: ${reply.error}`));
      else waiter?.resolve(reply.result);
    });
    const member: Member = { hand, waiter: undefined };
    this.#members.add(member);
    return member;
  }
}
